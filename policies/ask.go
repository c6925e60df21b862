package policies

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/expr"
)

// question is what is decided about.
type question struct {
	policy  string // that asks
	inc     incident.Incident
	plan    incident.Plan
	finding incident.Finding
	facts   Facts
	now     time.Time
	values  map[string]any // of the variables in expressions
	cost    *expr.Budget   // what the conditions may still cost
}

// said is what one rule or guard answers.
type said struct {
	incident.Answer
	// leave: a rule's answer, or one that stands for it. The others only do not object.
	leave bool
	wait  bool // there is no room now, and may be soon
}

func say(effect incident.Effect, guard, format string, args ...any) said {
	return said{Answer: incident.Answer{Rule: guard, Effect: effect, Reason: fmt.Sprintf(format, args...)}}
}

func pass(guard, format string, args ...any) said { return say(incident.Allow, guard, format, args...) }

func deny(guard, format string, args ...any) said { return say(incident.Deny, guard, format, args...) }

// guards are compiled Guards. Nil has no objection to anything.
type guards struct {
	Guards
	when    *expr.Expr // nil: for every plan
	windows windows
	freezes []freeze
}

// ask asks every guard that the file has, in the order of the file's format.
func (g *guards) ask(q question) []said {
	if g == nil {
		return nil
	}
	if g.when != nil {
		meant, err := g.when.TrueWithin(q.values, q.cost)
		switch {
		case err != nil:
			return []said{deny("guards", "the condition fails: %v", err)}
		case !meant:
			return nil
		}
	}
	var all []said
	for _, guard := range []func(question) []said{
		g.autonomy, g.evidence, g.blastRadius, g.rates, g.cooldown, g.concurrent, g.open, g.frozen,
		g.ownership, g.headroom, g.minReady, g.budgets, g.breaker,
	} {
		all = append(all, guard(q)...)
	}
	return all
}

func (g *guards) autonomy(q question) []said {
	const guard = "autonomy"
	if g.Autonomy == nil {
		return nil
	}
	i := slices.IndexFunc(g.Autonomy, func(a Autonomy) bool {
		return like(a.Runbook, q.plan.Runbook) && like(a.Namespace, q.plan.Target.Namespace) && like(a.Cause, string(q.plan.Cause))
	})
	if i < 0 {
		return []said{deny(guard, "no entry matches, so kmend only observes here")}
	}
	answer := deny(guard, "observe: kmend plans nothing here")
	switch g.Autonomy[i].Level {
	case Suggest:
		answer = pass(guard, "suggest: the plan is shown and not carried out")
		answer.DryRun = true
	case Approve:
		answer = say(incident.RequireApproval, guard, "approve: a person is asked here")
	case Auto:
		answer = pass(guard, "auto: kmend acts here")
	}
	answer.leave = true
	return []said{answer}
}

func (g *guards) evidence(q question) []said {
	if g.Evidence == nil {
		return nil
	}
	i := slices.IndexFunc(g.Evidence, func(e Evidence) bool { return like(e.Cause, string(q.plan.Cause)) })
	if i < 0 {
		return []said{deny("evidence", "no entry is for %s", q.plan.Cause)}
	}
	e := g.Evidence[i]
	age := q.now.Sub(q.inc.Diagnosis.Window.End()).Round(time.Second)
	switch {
	case q.finding.Share < e.MinShare:
		return []said{deny("evidence", "%s has a share of %.0f%%; at least %.0f%% is asked for", q.plan.Cause, 100*q.finding.Share, 100*e.MinShare)}
	case e.MaxAge != nil && age > e.MaxAge.D():
		return []said{deny("evidence", "the measurement is %v old; at most %v is allowed", age, e.MaxAge)}
	}
	return []said{pass("evidence", "%s has a share of %.0f%%", q.plan.Cause, 100*q.finding.Share)}
}

// like reports whether a value matches a pattern with *; an empty pattern matches all.
func like(pattern, value string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, value)
	return ok && err == nil
}

// asking names the guards that may answer require_approval.
func (g *guards) asking() (names []string) {
	if g == nil {
		return nil
	}
	asks := func(name string, effects ...incident.Effect) {
		if slices.Contains(effects, incident.RequireApproval) {
			names = append(names, name)
		}
	}
	for _, a := range g.Autonomy {
		if a.Level == Approve {
			asks("autonomy", incident.RequireApproval)
			break
		}
	}
	if g.Windows != nil {
		asks("windows", cmp.Or(g.Windows.Outside, incident.RequireApproval))
	}
	for _, f := range g.Freezes {
		asks("freezes", f.Decide)
	}
	if o := g.Ownership; o != nil {
		asks("ownership", cmp.Or(o.GitOps, incident.RequireApproval), cmp.Or(o.HPA, incident.RequireApproval), o.VPA)
	}
	for _, b := range g.Budgets {
		asks("errorBudgets", cmp.Or(b.Decide, incident.RequireApproval), cmp.Or(b.LowTraffic, incident.RequireApproval))
	}
	return slices.Compact(names)
}
