package policies

import (
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/expr"
)

// builtin is the policy that a decision names when kmend itself denies.
const builtin = "kmend"

// costLimit is what all conditions of one decision may cost together: those of
// thousands of sane rules, and a second or so of hostile ones.
const costLimit = 5 * expr.CostLimit

// skew is how far in the future a measurement may be: clocks of nodes differ.
const skew = time.Minute

// Decide answers whether a plan may be carried out. Every rule of every policy
// that matches answers, and every guard; deny wins over require_approval, which
// wins over allow, and of equal ones the first gives the reason. Only a rule or a
// level of autonomy can allow: without one there is a denial, however many guards
// have no objection. So is there for a condition that fails, for facts that a
// guard asks for and nobody knows, and for a plan whose cause is not confirmed on
// its target by a measurement that is young enough. A plan that cannot be undone
// is never allowed without approval, nor is one for a fault that only the recorder
// saw: it is over, and whatever is done will look like a cure. DryRun is set when
// it is global, or when any policy of which a rule matched, or a level of
// autonomy, has it.
func (s *Set) Decide(inc incident.Incident, plan incident.Plan, facts Facts) incident.Decision {
	if s == nil {
		return incident.Decision{Effect: incident.Deny, Policy: builtin, Rule: "policies", Reason: "no policies are loaded", DryRun: true}
	}
	finding, denied := s.check(inc, plan, facts)
	if denied != nil {
		denied.DryRun, denied.Scope = !s.live, facts.Scope
		return *denied
	}
	d := incident.Decision{DryRun: !s.live, Scope: facts.Scope}
	q := question{inc: inc, plan: plan, finding: finding, facts: facts, now: s.now(), values: expr.Facts(inc, finding, plan.Target), cost: &expr.Budget{Left: costLimit}}
	q.values["plan"], q.values["now"] = plan, q.now
	var leave []incident.Answer
	var approvers *incident.Approvers
	var updates *incident.PagerDutyUpdates
	for _, p := range s.policies {
		answers := p.asked(q)
		approvers = asking(approvers, p, answers)
		for _, a := range answers {
			d.Answers = append(d.Answers, a.Answer)
			d.DryRun = d.DryRun || a.DryRun
			if a.leave {
				leave = append(leave, a.Answer)
				updates = p.updates(updates)
			}
			if a.wait && d.Wait == "" {
				d.Wait = a.Reason
			}
		}
	}
	by := s.decided(d.Answers, leave)
	d.Effect, d.Policy, d.Rule, d.Reason = by.Effect, by.Policy, by.Rule, by.Reason
	ask := func(why string) {
		if d.Effect == incident.Allow {
			d.Effect, d.Reason = incident.RequireApproval, why+"; otherwise: "+d.Reason
		}
	}
	if why := plan.NeedsPerson(); why != "" {
		ask(why)
	}
	if inc.Diagnosis.Window.Recorded {
		ask("the fault is over: only the recorder saw it")
	}
	if d.Effect == incident.RequireApproval {
		d.Approval = approvers
	}
	if d.Effect != incident.Deny && !d.DryRun {
		d.PagerDuty = updates
	}
	return d
}

// Acknowledging reports whether any policy lets kmend acknowledge PagerDuty's incidents.
func (s *Set) Acknowledging() bool {
	return slices.ContainsFunc(s.policies, func(p policy) bool { return p.PagerDuty != nil && p.PagerDuty.Acknowledge })
}

// updates adds what the policy lets kmend do to PagerDuty's incident.
func (p policy) updates(so *incident.PagerDutyUpdates) *incident.PagerDutyUpdates {
	if p.PagerDuty == nil {
		return so
	}
	all := incident.PagerDutyUpdates{Acknowledge: p.PagerDuty.Acknowledge, Resolve: p.PagerDuty.Resolve}
	if so != nil {
		all.Acknowledge, all.Resolve = all.Acknowledge || so.Acknowledge, all.Resolve || so.Resolve
	}
	return &all
}

// asked are the answers of the rules that match, then those of the guards.
func (p policy) asked(q question) (all []said) {
	for i, rule := range p.Rules {
		answer := said{Answer: incident.Answer{Rule: rule.Name, Effect: rule.Decide, Reason: rule.Reason, DryRun: p.dryRun}, leave: true}
		matches, err := p.matches(i, q)
		if err != nil {
			matches, answer.Effect, answer.Reason = true, incident.Deny, "the condition fails: "+err.Error()
		}
		if matches {
			all = append(all, answer)
		}
	}
	q.policy = p.Metadata.Name
	for _, answer := range p.guards.ask(q) {
		answer.DryRun = answer.DryRun || answer.leave && p.dryRun
		all = append(all, answer)
	}
	for i := range all {
		all[i].Policy = p.Metadata.Name
	}
	return all
}

// decided is the answer that counts: the first denial; without one, if anything
// gave leave at all, the first question, and then the first allow. Leave are the
// answers of rules and levels of autonomy: guards alone do not allow.
func (s *Set) decided(answers, leave []incident.Answer) incident.Answer {
	for _, a := range answers {
		if a.Effect != incident.Allow && a.Effect != incident.RequireApproval {
			return a
		}
	}
	if len(leave) == 0 {
		return incident.Answer{Policy: builtin, Rule: "no match", Effect: incident.Deny, Reason: s.unmatched()}
	}
	for _, a := range answers {
		if a.Effect == incident.RequireApproval {
			return a
		}
	}
	return leave[0]
}

// matches computes the condition of a rule.
func (p policy) matches(rule int, q question) (bool, error) {
	if p.when[rule] == nil {
		return true, nil
	}
	return p.when[rule].TrueWithin(q.values, q.cost)
}

func (s *Set) unmatched() string {
	if len(s.policies) == 0 {
		return "no policies are loaded"
	}
	rules := 0
	for _, p := range s.policies {
		rules += len(p.Rules)
	}
	return fmt.Sprintf("none of the %d rules in %d policies matches", rules, len(s.policies))
}

// check holds what no policy may allow: it returns the finding that the plan
// stands on, or why there is none.
func (s *Set) check(inc incident.Incident, plan incident.Plan, facts Facts) (incident.Finding, *incident.Decision) {
	deny := func(rule, format string, args ...any) (incident.Finding, *incident.Decision) {
		return incident.Finding{}, &incident.Decision{Effect: incident.Deny, Policy: builtin, Rule: rule, Reason: fmt.Sprintf(format, args...)}
	}
	if why, missing := facts.Missing["pause"]; missing {
		return deny("pause", "whether kmend is paused is not known: %s", why)
	}
	if facts.Paused != "" {
		return deny("pause", "%s", facts.Paused)
	}
	if c := facts.Cluster; c != nil && c.OptedOut != "" {
		return deny("opt-out", "%s", c.OptedOut)
	}
	if why, missing := facts.Missing["cluster"]; missing {
		return deny("opt-out", "whether somebody keeps kmend away from %s is not known: %s", plan.Target, why)
	}
	if len(plan.Steps) == 0 {
		return deny("plan", "the plan has no steps")
	}
	d := inc.Diagnosis
	if d == nil {
		return deny("confirmed cause", "the incident has no diagnosis")
	}
	finding, ok := d.Finding(plan.Cause)
	if !ok || d.Verdict != incident.Confirmed || plan.Cause == "" {
		return deny("confirmed cause", "the measurement does not confirm %q: its verdict is %q", plan.Cause, d.Verdict)
	}
	if plan.Target.IsZero() {
		return deny("same target", "the plan has no target")
	}
	if field := plan.Target.Differs(d.Target); field != "" {
		return deny("same target", "the plan is not for the target that was measured: their %s differs", field)
	}
	if field := plan.Target.Differs(inc.Aim()); field != "" {
		return deny("same target", "the plan is not for the target that was asked about: their %s differs", field)
	}
	if d.Window.Start.IsZero() {
		return deny("young evidence", "the measurement has no time")
	}
	age := s.now().Sub(d.Window.Start.Add(time.Duration(d.Window.Seconds * float64(time.Second))))
	if most := s.MaxEvidenceAge(); age > most {
		return deny("young evidence", "the measurement is %v old; at most %v is allowed", age.Round(time.Second), most)
	}
	if age < -skew {
		return deny("young evidence", "the measurement is %v in the future: compare the clocks of this machine and of node %q", -age.Round(time.Second), d.Node.Name)
	}
	return finding, nil
}
