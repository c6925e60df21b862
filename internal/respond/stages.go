package respond

import (
	"context"
	"time"

	"github.com/kmend/kmend/incident"
)

// Diagnoser asks the node of a target what its kernel sees (package diagnose).
// An agent that is absent, slow, too old or refusing is not an error: it is an
// inconclusive Diagnosis whose first finding says why. An error is for what may
// work when tried again.
type Diagnoser interface {
	Diagnose(ctx context.Context, target incident.Target, window time.Duration) (incident.Diagnosis, error)
}

// Recaller is a Diagnoser that also knows the past (package diagnose): it gives
// the diagnosis that counts of the live one and that of when the alert began.
type Recaller interface {
	Recall(ctx context.Context, live incident.Diagnosis, startsAt time.Time) incident.Diagnosis
}

// Investigator goes on from what an alert names to what is to blame
// (diagnose/investigate). measure asks the node of one target; it may be called side
// by side. Only what the kernel confirms is confirmed: an error, and whatever is in
// the way, is as with a Diagnoser.
type Investigator interface {
	Investigate(ctx context.Context, inc incident.Incident, measure func(context.Context, incident.Target) (incident.Diagnosis, error)) (incident.Diagnosis, error)
}

// Planner maps a confirmed diagnosis to a rendered runbook (package runbooks).
// It is pure. ok is false when no runbook matches; why then says which were
// considered and why not.
type Planner interface {
	Plan(inc incident.Incident) (plan incident.Plan, ok bool, why string, err error)
}

// Guard decides about a plan (internal/guard). It fails closed: whatever goes
// wrong inside is a Decision with Effect Deny and the reason.
type Guard interface {
	Decide(ctx context.Context, inc incident.Incident, plan incident.Plan) incident.Decision
	// Paused says who stopped kmend and why, "" when nobody did: while it is paused
	// nothing is changed, nor put back. An error is that nobody knows. It is asked often.
	Paused(ctx context.Context) (why string, err error)
}

// Executor previews, applies and undoes the steps of a plan (package remediate).
type Executor interface {
	// Preview asks each step's action for its dry run and returns the plan with
	// the answers filled in. It changes nothing.
	Preview(ctx context.Context, plan incident.Plan) (incident.Plan, error)
	// Apply checks the step's preconditions and acts. When the real state shows
	// that the step has taken effect already (a crash came between the act and
	// its record), it says so in Execution.Result and does not act again.
	Apply(ctx context.Context, plan incident.Plan, step int) (incident.Execution, error)
	// Undo puts back what Apply changed; state that is back already is no error.
	Undo(ctx context.Context, plan incident.Plan, done incident.Execution) (incident.Execution, error)
	// Verify compares the plan's cause in the two measurements. Pure.
	Verify(plan incident.Plan, before, after incident.Diagnosis) incident.Verification
}

// Groups knows who is in a group that may approve (Slack). What it does not know
// is an error: then nobody is.
type Groups interface {
	Members(ctx context.Context, group string) (users []string, err error)
}

// Watcher hears that an incident has changed, after it is committed. It returns
// at once; what it shows, it reads. urgent: somebody waits for it.
type Watcher interface {
	Changed(id string, urgent bool)
}

// Notifier posts the report of a closed incident (package report).
type Notifier interface {
	Notify(ctx context.Context, inc incident.Incident) error
}
