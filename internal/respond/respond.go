package respond

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/internal/tracing"
)

// Respond is the whole flow of one incident. Each stage either ends it or lets
// it go on. A stage that has finished is not run again after a crash; one that
// was in the middle is, and finds in the store how far it had come.
func (r *Responder) Respond(wf dbos.Context, id string) (incident.Outcome, error) {
	if !r.running.enter(id) {
		return "", nil // another run of the same incident is at it
	}
	defer r.running.leave(id)
	if owned, err := r.own(wf, id); !owned || err != nil {
		return "", err // another replica is at it
	}

	wf, span := r.traced(wf, id)
	defer span.End()

	end, err := r.firstEnd(wf, id,
		stage{"diagnose", r.diagnose}, // no_target, clean, inconclusive
		stage{"claim", r.claim},       // one remediation per target at a time
		stage{"plan", r.plan},         // no_runbook, reported, failed preview
		stage{"guard", r.guard},       // denied, dry_run
		stage{"approve", r.approve},   // denied, expired
		stage{"execute", r.execute},   // denied, failed
		stage{"verify", r.verify},     // fixed, undone, failed
	)
	if err != nil {
		return "", err
	}
	if _, err := r.step(wf, id, "close", r.close(end)); err != nil {
		return "", err
	}
	span.SetAttributes(tracing.OutcomeKey.String(string(end.Outcome)))
	_, err = r.step(wf, id, "report", r.report)
	return end.Outcome, err
}

// End is how a stage ends an incident; the zero End lets it go on.
type End struct {
	Outcome incident.Outcome `json:"outcome,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Closed  bool             `json:"closed,omitempty"` // somebody else closed it: the alert resolved
}

func end(o incident.Outcome, format string, args ...any) End {
	return End{Outcome: o, Reason: fmt.Sprintf(format, args...)}
}

func (e End) over() bool { return e.Outcome != "" || e.Closed }

// stage is one paragraph of the flow.
type stage struct {
	name string
	run  func(ctx context.Context, p store.Progress) (End, error)
}

// firstEnd runs the stages in order until one ends the incident.
func (r *Responder) firstEnd(wf dbos.Context, id string, stages ...stage) (End, error) {
	for _, s := range stages {
		e, err := r.step(wf, id, s.name, r.unlessInterrupted(r.untilSuperseded(s.run)))
		if err != nil || e.over() {
			return e, err
		}
	}
	return end(incident.Failed, "the flow came to its end without an outcome"), nil
}

// step makes run a durable step of the workflow. It fails only when kmend stops:
// storage trouble is waited out, because an accepted incident is not to be lost.
func (r *Responder) step(wf dbos.Context, id, name string, run func(context.Context, store.Progress) (End, error)) (End, error) {
	return dbos.RunAsStep(wf, func(ctx context.Context) (End, error) {
		return r.tracedStage(ctx, id, name, func(ctx context.Context) (End, error) { return r.untilStored(ctx, id, name, run) })
	}, dbos.WithStepName(name))
}

// untilStored runs a stage, again while its storage is in trouble.
func (r *Responder) untilStored(ctx context.Context, id, name string, run func(context.Context, store.Progress) (End, error)) (End, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		e, err := r.attempt(ctx, id, run)
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, store.ErrClosed):
			return End{Closed: true}, nil
		case errors.Is(err, store.ErrLost):
			return End{}, r.parked(ctx, err)
		case ctx.Err() != nil:
			return End{}, err
		case store.Refused(err):
			return end(incident.Failed, "internal error in %s: %v", name, err), nil
		}
		r.Logger.Error("incident waits for its storage", "incident", id, "stage", name, "error", err)
		r.metrics.storageErrors.Inc()
		if err := sleep(ctx, wait); err != nil {
			return End{}, err
		}
	}
}

// own takes the incident for this replica, for as long as its storage takes.
func (r *Responder) own(ctx context.Context, id string) (bool, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		owned, err := r.Store.Own(ctx, id)
		switch {
		case err == nil || ctx.Err() != nil:
			return owned, err
		case errors.Is(err, store.ErrLost):
			return false, r.parked(ctx, err)
		case store.Refused(err):
			return false, err
		}
		r.Logger.Error("incident waits for its storage", "incident", id, "stage", "own", "error", err)
		r.metrics.storageErrors.Inc()
		if err := sleep(ctx, wait); err != nil {
			return false, err
		}
	}
}

// parked holds a workflow whose incident another replica has until this process
// stops: an end of it here would be taken for the workflow's.
func (r *Responder) parked(ctx context.Context, err error) error {
	r.lose(err)
	<-ctx.Done()
	return context.Cause(ctx)
}

// attempt runs a stage once, on the incident as it is now. A stage that panics
// ends its incident, not the process.
func (r *Responder) attempt(ctx context.Context, id string, run func(context.Context, store.Progress) (End, error)) (e End, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.Logger.Error("stage panicked", "incident", id, "panic", v, "stack", string(debug.Stack()))
			e, err = end(incident.Failed, "internal error: panic: %v", v), nil
		}
	}()
	p, err := r.Store.Progress(ctx, id)
	if err != nil {
		return End{}, err
	}
	return run(ctx, p)
}

// unlessInterrupted keeps a stage from going on with what kmend left lying for
// too long: whatever was true then, it may not be now.
func (r *Responder) unlessInterrupted(run func(context.Context, store.Progress) (End, error)) func(context.Context, store.Progress) (End, error) {
	return func(ctx context.Context, p store.Progress) (End, error) {
		if p.Phase.Closed() {
			return End{}, store.ErrClosed
		}
		if p.Phase == incident.AwaitingApproval && p.Approval == nil {
			return run(ctx, p) // waiting has a deadline of its own
		}
		if away := away(p); away > r.ActDeadline {
			return end(incident.Interrupted, "kmend stopped in phase %s and came back after %s, more than %s; nothing was repeated%s",
				p.Phase, away.Round(time.Millisecond), r.ActDeadline, leftBehind(p)), nil
		}
		return run(ctx, p)
	}
}

// untilSuperseded cuts a stage short when a delivery closes its incident. The
// close and the report that follow are not cut short.
func (r *Responder) untilSuperseded(run func(context.Context, store.Progress) (End, error)) func(context.Context, store.Progress) (End, error) {
	return func(ctx context.Context, p store.Progress) (End, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		r.running.interruptible(p.ID, cancel)
		defer r.running.interruptible(p.ID, nil)
		e, err := run(ctx, p)
		if errors.Is(context.Cause(ctx), store.ErrClosed) {
			return End{}, store.ErrClosed
		}
		return e, err
	}
}

// away is how long nobody was there for an incident before the replica that has it
// now took it, 0 or less when the flow has gone on since. An incident may wait for
// long without a line on its timeline, so the last life of its owner counts too.
func away(p store.Progress) time.Duration {
	last := lastProgress(p)
	if last.Before(p.SeenUntil) {
		last = p.SeenUntil
	}
	return p.OwnedAt.Sub(last)
}

// lastProgress is when the flow last wrote to the timeline; deliveries do not count.
func lastProgress(p store.Progress) time.Time {
	for i := len(p.Timeline) - 1; i >= 0; i-- {
		if k := p.Timeline[i].Kind; k != store.KindJoined && k != store.KindAlertResolved {
			return p.Timeline[i].At
		}
	}
	return p.ReceivedAt
}

// leftBehind says what a person has to look at after an interruption.
func leftBehind(p store.Progress) string {
	if !p.Phase.Acted() || p.Plan == nil {
		return ""
	}
	if i, ok := openIntent(p); ok {
		return fmt.Sprintf("; step %d of %d may or may not have taken effect: look at the target", i+1, len(p.Plan.Steps))
	}
	return fmt.Sprintf("; %d of %d steps were applied, %d undone, and not verified: look at the target",
		len(p.Applied), len(p.Plan.Steps), len(p.Undone))
}

// sleep waits for d, or less when ctx ends, which is its error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
