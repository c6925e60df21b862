package incident

import (
	"fmt"
	"slices"
)

// Phase is where an incident is on its way. docs/architecture.md draws it.
type Phase string

const (
	Received         Phase = "received"
	Diagnosing       Phase = "diagnosing"
	Planned          Phase = "planned"
	AwaitingApproval Phase = "awaiting_approval"
	Executing        Phase = "executing"
	Verifying        Phase = "verifying"
	ResolvedPhase    Phase = "resolved"
	Escalated        Phase = "escalated"
)

// next is the whole phase machine: from each phase, the phases that may follow.
var next = map[Phase][]Phase{
	"":               {Received},
	Received:         {Diagnosing, ResolvedPhase, Escalated},
	Diagnosing:       {Planned, ResolvedPhase, Escalated},
	Planned:          {AwaitingApproval, Executing, ResolvedPhase, Escalated},
	AwaitingApproval: {Executing, ResolvedPhase, Escalated},
	Executing:        {Verifying, Escalated},
	Verifying:        {ResolvedPhase, Escalated},
	ResolvedPhase:    nil,
	Escalated:        nil,
}

// Phases lists the phases in order.
func Phases() []Phase {
	return []Phase{Received, Diagnosing, Planned, AwaitingApproval, Executing, Verifying, ResolvedPhase, Escalated}
}

// Closed reports whether nothing can follow p.
func (p Phase) Closed() bool { return p == ResolvedPhase || p == Escalated }

// Acted reports whether something may have been changed in phase p.
func (p Phase) Acted() bool { return p == Executing || p == Verifying || p.Closed() }

// To checks the step from p to q.
func (p Phase) To(q Phase) error {
	if slices.Contains(next[p], q) {
		return nil
	}
	return fmt.Errorf("phase %q cannot follow %q; allowed: %v", q, p, next[p])
}

// Outcome is how an incident ended. Outcomes are never guessed from one another.
type Outcome string

const (
	Fixed               Outcome = "fixed"        // acted, measured again, better
	DryRun              Outcome = "dry_run"      // planned and shown; not allowed to act
	OutcomeClean        Outcome = "clean"        // the kernel is clean
	OutcomeInconclusive Outcome = "inconclusive" // nothing could be said
	NoTarget            Outcome = "no_target"    // the alert names nothing that can be measured
	NoRunbook           Outcome = "no_runbook"   // confirmed, and no runbook matches
	Reported            Outcome = "reported"     // confirmed, and its runbook tells a person what to do
	Denied              Outcome = "denied"       // by a policy, or by a person
	Expired             Outcome = "expired"      // nobody approved in time
	Superseded          Outcome = "superseded"   // the alert resolved before kmend acted
	Failed              Outcome = "failed"       // a step failed, or it did not help and could not be undone
	Undone              Outcome = "undone"       // it did not help and was undone
	Applied             Outcome = "applied"      // a person allowed it, and its effect is not measured
	Interrupted         Outcome = "interrupted"  // kmend was down past a deadline; nothing was replayed
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{Fixed, DryRun, OutcomeClean, OutcomeInconclusive, NoTarget, NoRunbook, Reported, Denied, Expired, Superseded, Failed, Undone, Applied, Interrupted}
}

// Phase is the closed phase an outcome belongs to: resolved when the alert's
// cause is gone, escalated when a person has to look.
func (o Outcome) Phase() Phase {
	if o == Fixed || o == Superseded {
		return ResolvedPhase
	}
	return Escalated
}
