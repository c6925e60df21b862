package policies

import (
	"fmt"
	"time"
)

// acts are the plans of other incidents that began or ended since the time given
// and for which ok is true; those that run always count. An error is that
// nobody knows.
func (q question) acts(since time.Time, ok func(Act) bool) ([]Act, error) {
	if why, missing := q.facts.Missing["history"]; missing {
		return nil, fmt.Errorf("what kmend did is not known: %s", why)
	}
	var out []Act
	for _, a := range q.facts.History {
		recent := a.Running() || a.Started.After(since) || a.Ended.After(since)
		if a.Incident != q.inc.ID && recent && ok(a) {
			out = append(out, a)
		}
	}
	return out, nil
}

// same reports whether an act was in the same part of the scope as the plan.
func (q question) same(kind string) func(Act) bool {
	mine := q.part(kind)
	return func(a Act) bool {
		if kind == "runbook" {
			return a.Runbook == mine
		}
		return a.Scope.Of(kind) == mine
	}
}

// part is the part of the scope that a limit is for; empty when it is not known.
func (q question) part(kind string) string {
	if kind == "runbook" {
		return q.plan.Runbook
	}
	return q.facts.Scope.Of(kind)
}

// here names it: "namespace shop"; ok is false when nobody knows it. There is
// always a cluster, be it one without a name.
func (q question) here(kind string) (name string, ok bool) {
	part := q.part(kind)
	switch {
	case kind == "cluster" && part == "":
		return "the cluster", true
	case part == "":
		return fmt.Sprintf("the %s of %s is not known", kind, q.plan.Target), false
	}
	return kind + " " + part, true
}

func (g *guards) rates(q question) (all []said) {
	for _, r := range g.Rates {
		all = append(all, rate(q, r))
	}
	return all
}

func rate(q question, r Rate) said {
	where, ok := q.here(r.Per)
	if !ok {
		return deny("rates", "%s", where)
	}
	since := q.now.Add(-r.In.D())
	acts, err := q.acts(since, func(a Act) bool { return a.Started.After(since) && q.same(r.Per)(a) })
	switch {
	case err != nil:
		return deny("rates", "%v", err)
	case len(acts) >= r.Max:
		return deny("rates", "kmend acted %d times on %s in the last %v; at most %d is allowed", len(acts), where, r.In, r.Max)
	}
	return pass("rates", "%d of %d in the last %v on %s", len(acts), r.Max, r.In, where)
}

func (g *guards) cooldown(q question) []said {
	if g.Cooldown == nil {
		return nil
	}
	acts, err := q.acts(q.now.Add(-g.Cooldown.D()), func(a Act) bool { return q.same("target")(a) && q.same("runbook")(a) })
	switch {
	case err != nil:
		return []said{deny("cooldown", "%v", err)}
	case q.facts.Scope.Target == "":
		return []said{deny("cooldown", "the target is not known")}
	case len(acts) > 0:
		last := acts[0].Started
		for _, a := range acts {
			last = later(last, later(a.Started, a.Ended))
		}
		return []said{deny("cooldown", "runbook %s acted on %s %v ago; %v must pass", q.plan.Runbook, q.plan.Target, q.now.Sub(last).Round(time.Second), g.Cooldown)}
	}
	return []said{pass("cooldown", "runbook %s did not act on it for %v", q.plan.Runbook, g.Cooldown)}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (g *guards) concurrent(q question) []said {
	if g.Concurrent == 0 {
		return nil
	}
	acts, err := q.acts(q.now, Act.Running)
	switch {
	case err != nil:
		return []said{deny("concurrent", "%v", err)}
	case len(acts) >= g.Concurrent:
		answer := pass("concurrent", "kmend is at %d plans; at most %d at once are allowed", len(acts), g.Concurrent)
		answer.wait = true
		return []said{answer}
	}
	return []said{pass("concurrent", "kmend is at %d plans, at most %d", len(acts), g.Concurrent)}
}

func (g *guards) breaker(q question) []said {
	b := g.Breaker
	if b == nil {
		return nil
	}
	per := b.Per
	if per == "" {
		per = "cluster"
	}
	where, ok := q.here(per)
	if !ok {
		return []said{deny("breaker", "%s", where)}
	}
	since := q.now.Add(-b.In.D())
	acts, err := q.acts(since, func(a Act) bool { return a.wentWrong() && a.Ended.After(since) && q.same(per)(a) })
	switch {
	case err != nil:
		return []said{deny("breaker", "%v", err)}
	case len(acts) >= b.Failures:
		return []said{deny("breaker", "open: %d actions on %s failed or were undone in the last %v; at %d kmend stops until they are older", len(acts), where, b.In, b.Failures)}
	}
	return []said{pass("breaker", "%d of %d failures in the last %v on %s", len(acts), b.Failures, b.In, where)}
}

// longest is how far back the guards look.
func (g *guards) longest() (d time.Duration) {
	if g == nil {
		return 0
	}
	for _, r := range g.Rates {
		d = max(d, r.In.D())
	}
	for _, r := range g.BlastRadius {
		if r.In != nil {
			d = max(d, r.In.D())
		}
	}
	if g.Cooldown != nil {
		d = max(d, g.Cooldown.D())
	}
	if g.Breaker != nil {
		d = max(d, g.Breaker.In.D())
	}
	return d
}
