package policies

import (
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/expr"
)

// builtin is the policy that a decision names when kmend itself denies.
const builtin = "kmend"

// skew is how far in the future a measurement may be: clocks of nodes differ.
const skew = time.Minute

// Decide answers whether a plan may be carried out. Of all rules of all policies
// that match, deny wins over require_approval, which wins over allow; of equal
// ones the first decides and gives the reason. No match is a denial, so is a
// condition that fails, so is a plan whose cause is not confirmed on its target
// by a measurement that is young enough. A plan that cannot be undone is never
// allowed without approval, nor is one for a fault that only the recorder saw: it
// is over, and whatever is done will look like a cure. DryRun is set when it is global, or when any policy
// of which a rule matched has it.
func (s *Set) Decide(inc incident.Incident, plan incident.Plan) incident.Decision {
	if s == nil {
		return incident.Decision{Effect: incident.Deny, Policy: builtin, Rule: "policies", Reason: "no policies are loaded", DryRun: true}
	}
	finding, denied := s.check(inc, plan)
	if denied != nil {
		denied.DryRun = !s.live
		return *denied
	}
	facts := expr.Facts(inc, finding, plan.Target)
	facts["plan"], facts["now"] = plan, s.now()
	decision := incident.Decision{Effect: incident.Deny, Policy: builtin, Rule: "no match", Reason: s.unmatched()}
	best := 0
	dryRun := !s.live
	for _, p := range s.policies {
		for i, rule := range p.Rules {
			answer := incident.Decision{Effect: rule.Decide, Policy: p.Metadata.Name, Rule: rule.Name, Reason: rule.Reason}
			matches, err := p.matches(i, facts)
			if err != nil {
				matches, answer.Effect, answer.Reason = true, incident.Deny, "the condition fails: "+err.Error()
			}
			if !matches {
				continue
			}
			dryRun = dryRun || p.dryRun
			if weight := weigh(answer.Effect); weight > best {
				best, decision = weight, answer
			}
		}
	}
	ask := func(why string) {
		if decision.Effect == incident.Allow {
			decision.Effect, decision.Reason = incident.RequireApproval, why+"; otherwise: "+decision.Reason
		}
	}
	if plan.Irreversible() {
		ask("a step of the plan cannot be undone")
	}
	if inc.Diagnosis.Window.Recorded {
		ask("the fault is over: only the recorder saw it")
	}
	decision.DryRun = dryRun
	return decision
}

// matches computes the condition of a rule.
func (p policy) matches(rule int, facts map[string]any) (bool, error) {
	if p.when[rule] == nil {
		return true, nil
	}
	return p.when[rule].True(facts)
}

// weigh orders the effects; what is none of them weighs as much as deny.
func weigh(e incident.Effect) int {
	switch e {
	case incident.Allow:
		return 1
	case incident.RequireApproval:
		return 2
	}
	return 3
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
func (s *Set) check(inc incident.Incident, plan incident.Plan) (incident.Finding, *incident.Decision) {
	deny := func(rule, format string, args ...any) (incident.Finding, *incident.Decision) {
		return incident.Finding{}, &incident.Decision{Effect: incident.Deny, Policy: builtin, Rule: rule, Reason: fmt.Sprintf(format, args...)}
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
	if field := plan.Target.Differs(inc.Target); field != "" {
		return deny("same target", "the plan is not for the target of the alert: their %s differs", field)
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
