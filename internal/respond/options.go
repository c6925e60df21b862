package respond

import (
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Options are what a Responder is made of. Start from DefaultOptions.
type Options struct {
	Store     *store.Store
	Diagnoser Diagnoser
	// Investigator may be nil: what the alert names is all that is measured.
	Investigator Investigator
	Planner      Planner
	Guard        Guard
	Executor     Executor
	Notifier     Notifier // may be nil: nobody is told
	Groups       Groups   // may be nil: no group has members
	Watcher      Watcher  // may be nil: nobody looks on
	// TargetOf says what an alert is about; why, when it is about nothing that can be measured.
	TargetOf func(incident.Alert) (t incident.Target, ok bool, why string)
	Logger   *slog.Logger
	Metrics  *Metrics // nil: measured and shown to nobody
	Tracer   trace.Tracer

	Window         time.Duration // of the diagnosis
	ApprovalExpiry time.Duration // how long a person may take to answer
	// MaxEvidenceAge is how old a measurement may be when kmend acts on it.
	// It is asked each time, for policies change.
	MaxEvidenceAge func() time.Duration
	// ActDeadline is how long kmend may have been down in the middle of an incident
	// and still go on with it; longer ends it as interrupted.
	ActDeadline  time.Duration
	StageTimeout time.Duration // of one preview, apply, undo or report
	// MeasureTimeout is what a diagnosis may take on top of its window.
	MeasureTimeout time.Duration

	// ExtendWithin is how long after its end an incident is extended by alerts that
	// fire again, CorrelateWithin how far apart two incidents may come that are
	// correlated; 0: never.
	ExtendWithin, CorrelateWithin time.Duration

	// Retention is how long incidents are kept after their end; 0: for ever.
	Retention time.Duration

	QueueLimit          int // open incidents; more are ErrFull
	MaxDiagnoses        int // at the same time, in all
	MaxDiagnosesPerNode int // at the same time, on one node
	// MaxPlans is how many incidents are planned, and have their guards asked, at the
	// same time. Each asks the cluster a dozen questions, within a time limit: when
	// hundreds come at once, all at the same time would get no answer in theirs.
	MaxPlans      int
	SweepInterval time.Duration // how often open incidents without a workflow are looked for
	ExecutorID    string        // of this process in the workflow engine; the same after a restart, and no other replica's
	// DeadAfter is how long another replica must not have been heard of to be taken
	// for dead. Five eighths of it without its database, and this one stops acting.
	DeadAfter time.Duration
}

// DefaultOptions is everything but the stages.
func DefaultOptions() Options {
	return Options{
		Logger:              slog.Default(),
		Tracer:              noop.NewTracerProvider().Tracer(""),
		Window:              3 * time.Second,
		ApprovalExpiry:      15 * time.Minute,
		MaxEvidenceAge:      func() time.Duration { return 20 * time.Minute },
		ActDeadline:         10 * time.Minute,
		StageTimeout:        2 * time.Minute,
		MeasureTimeout:      30 * time.Second,
		ExtendWithin:        15 * time.Minute,
		CorrelateWithin:     5 * time.Minute,
		QueueLimit:          1000,
		MaxDiagnoses:        8,
		MaxDiagnosesPerNode: 2,
		MaxPlans:            8,
		SweepInterval:       15 * time.Second,
		ExecutorID:          "kmend",
		DeadAfter:           8 * time.Second,
	}
}

func (o Options) validate() error {
	for _, stage := range []struct {
		name string
		ok   bool
	}{
		{"Store", o.Store != nil}, {"Diagnoser", o.Diagnoser != nil}, {"Planner", o.Planner != nil},
		{"Guard", o.Guard != nil}, {"Executor", o.Executor != nil}, {"TargetOf", o.TargetOf != nil},
		{"Logger", o.Logger != nil}, {"Tracer", o.Tracer != nil}, {"ExecutorID", o.ExecutorID != ""},
		{"MaxEvidenceAge", o.MaxEvidenceAge != nil},
	} {
		if !stage.ok {
			return fmt.Errorf("%s must be set", stage.name)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"Window", o.Window}, {"ApprovalExpiry", o.ApprovalExpiry},
		{"ActDeadline", o.ActDeadline}, {"StageTimeout", o.StageTimeout}, {"MeasureTimeout", o.MeasureTimeout},
		{"SweepInterval", o.SweepInterval}, {"DeadAfter", o.DeadAfter},
	} {
		if d.v <= 0 {
			return fmt.Errorf("%s is %s and must be more than 0", d.name, d.v)
		}
	}
	if o.ExtendWithin < 0 || o.CorrelateWithin < 0 {
		return fmt.Errorf("ExtendWithin is %s and CorrelateWithin %s; both must be 0 or more", o.ExtendWithin, o.CorrelateWithin)
	}
	if o.Retention < 0 {
		return fmt.Errorf("Retention is %s and must be 0 or more", o.Retention)
	}
	for _, n := range []struct {
		name string
		v    int
	}{
		{"QueueLimit", o.QueueLimit}, {"MaxDiagnoses", o.MaxDiagnoses}, {"MaxDiagnosesPerNode", o.MaxDiagnosesPerNode}, {"MaxPlans", o.MaxPlans},
	} {
		if n.v < 1 {
			return fmt.Errorf("%s is %d and must be at least 1", n.name, n.v)
		}
	}
	return nil
}
