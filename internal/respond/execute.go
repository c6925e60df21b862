package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// alreadyApplied is the result of an Apply that found its change in place. The
// executor says it only of what this very call did not do.
const alreadyApplied = "already applied"

// execute applies the plan's steps in order. A step that fails or is no longer
// allowed undoes the ones before it.
func (r *Responder) execute(ctx context.Context, p store.Progress) (End, error) {
	if p.Test {
		return End{}, store.ErrTest
	}
	if e, stopped := p.Keys["stopped"]; stopped {
		return r.backOut(ctx, p, incident.Outcome(e.Fields["outcome"]), e.Message)
	}
	for i := range p.Plan.Steps {
		if i > 0 && resolved(p.Alerts) {
			break // what was done seems to be enough; verify says whether it is
		}
		stop, err := r.applyStep(ctx, p, i)
		if err != nil {
			return End{}, err
		}
		if stop.over() {
			return stop, nil
		}
		if p, err = r.Store.Progress(ctx, p.ID); err != nil {
			return End{}, err
		}
	}
	return End{}, nil
}

// applyStep applies one step: asks again, writes down the intent, acts, writes
// down the result. After a crash it finds which of these are behind it.
func (r *Responder) applyStep(ctx context.Context, p store.Progress, i int) (End, error) {
	if _, done := p.Applied[i]; done {
		return r.afterFailure(ctx, p, i)
	}
	if _, failed := p.Keys[key("failed", i)]; failed {
		return r.afterFailure(ctx, p, i)
	}
	_, again := p.Keys[key("intent", i)]
	outcome, why, err := r.admit(ctx, p, i, again)
	switch {
	case err != nil:
		return End{}, err
	case outcome != "" && again:
		// It may have taken effect before the crash. Without leave to act there is
		// no asking the executor, and no undoing what is not known.
		return end(incident.Interrupted, "%s; kmend had stopped in step %d of %d, which may or may not have taken effect: look at the target",
			why, i+1, len(p.Plan.Steps)), nil
	case outcome != "" && i == 0:
		return end(outcome, "%s", why), nil
	case outcome != "":
		return r.stopMidway(ctx, p, outcome, fmt.Sprintf("step %d of %d: %s", i+1, len(p.Plan.Steps), why))
	}
	if again && once(p.Plan.Steps[i]) {
		return end(incident.Interrupted, "kmend had stopped in step %d of %d (%s), which must not be done twice and may or may not have taken effect: look at the target",
			i+1, len(p.Plan.Steps), stepSummary(p.Plan.Steps[i])), nil
	}
	e, err := r.act(ctx, p, i, again)
	if err != nil {
		return End{}, err
	}
	if e != "" {
		if p, err = r.Store.Progress(ctx, p.ID); err != nil {
			return End{}, err
		}
		return r.afterFailure(ctx, p, i)
	}
	return End{}, nil
}

// admit asks again whether step i may be done and writes down the intent, while
// nobody else is asking: two plans that are allowed one at a time are not both
// allowed in the same moment. Where there is no room for a plan it waits for some,
// for as long as the measurement is young enough. The outcome is "" when the step
// may be done.
func (r *Responder) admit(ctx context.Context, p store.Progress, i int, again bool) (outcome incident.Outcome, why string, err error) {
	for {
		free, closed := r.bells.listen(claims), r.bells.listen(p.ID)
		var room string
		if outcome, why, room, err = r.admitAlone(ctx, p, i, again); err != nil || outcome != "" || room == "" {
			return outcome, why, err
		}
		if err := r.record(ctx, p.ID, "no_room", store.Change{Event: incident.Event{Kind: "waiting", Message: "waiting: " + room}}); err != nil {
			return "", "", err
		}
		select {
		case <-free:
		case <-closed:
		case <-time.After(time.Second): // a bell that was missed
		case <-ctx.Done():
			return "", "", context.Cause(ctx)
		}
		if p, err = r.Store.Progress(ctx, p.ID); err != nil {
			return "", "", err
		}
		if p.Phase.Closed() {
			return "", "", store.ErrClosed
		}
	}
}

// admitAlone is one try of admit; room is what there is no room for.
func (r *Responder) admitAlone(ctx context.Context, p store.Progress, i int, again bool) (outcome incident.Outcome, why, room string, err error) {
	release, err := r.Store.Alone(ctx)
	if err != nil {
		return "", "", "", err
	}
	defer release() // whatever happens in between: nobody could act any more
	outcome, why, d := r.stillAllowed(ctx, p)
	if outcome != "" || d.Wait != "" && i == 0 && !again {
		return outcome, why, d.Wait, nil
	}
	e := decided(fmt.Sprintf("asked again before step %d of %d: ", i+1, len(p.Plan.Steps)), d)
	if err := r.record(ctx, p.ID, askedAgain(e), store.Change{Event: e}); err != nil {
		return "", "", "", err
	}
	return "", "", "", r.intend(ctx, p, i)
}

// intend writes down what is about to be done. For the first step this is the
// transition to executing, in one transaction: an alert that resolves before it
// closes the incident, and then there is no intent.
func (r *Responder) intend(ctx context.Context, p store.Progress, i int) error {
	c := store.Change{Event: incident.Event{Kind: "intent",
		Message: fmt.Sprintf("step %d of %d: %s", i+1, len(p.Plan.Steps), stepSummary(p.Plan.Steps[i]))}}
	if p.Phase != incident.Executing {
		c.To = incident.Executing
	}
	return r.record(ctx, p.ID, key("intent", i), c)
}

// act applies step i and records what came of it; failure is the step's error.
// A stop of kmend does not cut it short, and its result is recorded all the same.
// again says that kmend stopped in this step before, so that an error no longer
// means that nothing happened, and "already applied" may mean its own change.
func (r *Responder) act(ctx context.Context, p store.Progress, i int, again bool) (failure string, err error) {
	started := time.Now()
	e, err := r.bounded(ctx, p.Plan.Steps[i], func(ctx context.Context) (incident.Execution, error) {
		ctx, done := r.untilPaused(ctx)
		defer done()
		return r.Executor.Apply(ctx, *p.Plan, i)
	})
	if errors.Is(err, errLapsed) {
		return "", err // it may or may not have taken effect: who goes on from the intent looks
	}
	e.Step, e.Action = i, p.Plan.Steps[i].Action
	fillTimes(&e, started)
	if err == nil && e.Result == alreadyApplied && !again {
		err, e.State = errors.New("somebody has set it already: nothing was changed by kmend"), nil
	}
	if err == nil {
		return "", r.recordAct(ctx, p.ID, key("applied", i), store.Change{Act: store.Apply, Execution: &e, Event: incident.Event{
			Kind: "applied", Message: fmt.Sprintf("step %d of %d: %s: %s -> %s", i+1, len(p.Plan.Steps), e.Result, e.Before, e.After)}})
	}
	failure = err.Error()
	c := store.Change{Event: incident.Event{Kind: "step_failed", Message: fmt.Sprintf("step %d of %d: %s", i+1, len(p.Plan.Steps), failure)}}
	if e.State != nil {
		// It failed after it had changed something, and says what undoing it needs.
		c.Act, c.Execution = store.Apply, &e
	} else if again {
		c.Event.Message += "; kmend had stopped in this step, which may or may not have taken effect: look at the target"
		c.Event.Fields = map[string]string{"outcome": string(incident.Interrupted)}
	}
	return failure, r.recordAct(ctx, p.ID, key("failed", i), c)
}

// afterFailure goes on from a step that has an end: nothing if it was applied,
// the undoing of everything if it failed. Where nobody knows whether it took
// effect nothing is undone either: a person has to look first.
func (r *Responder) afterFailure(ctx context.Context, p store.Progress, i int) (End, error) {
	e, failed := p.Keys[key("failed", i)]
	switch {
	case !failed:
		return End{}, nil
	case e.Fields["outcome"] == string(incident.Interrupted):
		return end(incident.Interrupted, "%s", e.Message), nil
	}
	return r.stopMidway(ctx, p, incident.Failed, e.Message)
}

// stopMidway ends a plan before its last step. It is written down first: once
// the undoing has begun there is no going on, whatever the guards say then.
func (r *Responder) stopMidway(ctx context.Context, p store.Progress, o incident.Outcome, why string) (End, error) {
	err := r.record(ctx, p.ID, "stopped", store.Change{Event: incident.Event{
		Kind: "stopped", Message: why, Fields: map[string]string{"outcome": string(o)}}})
	if err != nil {
		return End{}, err
	}
	return r.backOut(ctx, p, o, why)
}

// backOut undoes what was applied and ends with the outcome, or with failed
// where something stays.
func (r *Responder) backOut(ctx context.Context, p store.Progress, o incident.Outcome, why string) (End, error) {
	if len(p.Applied) == 0 {
		return end(o, "%s", why), nil
	}
	left, err := r.undo(ctx, p)
	if err != nil {
		return End{}, err
	}
	if left != "" {
		return end(incident.Failed, "%s; %s", why, left), nil
	}
	return end(o, "%s; what was applied before it was undone", why), nil
}

// bounded calls an action with a time limit of its own: a stop of kmend waits
// for it rather than leave a change half done. A step whose preview says that it
// takes long (a drain, a Job) has that long. A panic is an error of the action.
// Nothing is called without the lease, and what has not ended when it lapses is
// told to and is errLapsed, so that it is over before another replica begins.
func (r *Responder) bounded(ctx context.Context, s incident.Step, f func(context.Context) (incident.Execution, error)) (e incident.Execution, err error) {
	limit := r.stepTimeout(s)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, fmt.Errorf("no end within %s", limit))
	defer cancel()
	ctx, release, err := r.lease.during(ctx)
	if err != nil {
		return e, err
	}
	defer release()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errLapsed) {
			err = fmt.Errorf("%w: %w", errLapsed, err)
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the action panicked: %v", v)
		}
	}()
	return f(ctx)
}

// pauseInterval is how often it is looked for a pause while something is changed.
const pauseInterval = time.Second

// untilPaused ends a context when somebody pauses kmend: a drain of many minutes
// must not go on until it is done.
func (r *Responder) untilPaused(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for sleep(ctx, pauseInterval) == nil {
			// That nobody knows is no reason to break off in the middle: it may be known
			// again in a moment, and what is half done is the worst of all.
			if why, err := r.Guard.Paused(ctx); err == nil && why != "" {
				cancel(errors.New(why))
			}
		}
	}()
	return ctx, func() { cancel(nil); <-watching }
}

// longestStep bounds what a preview may ask for.
const longestStep = time.Hour

func (r *Responder) stepTimeout(s incident.Step) time.Duration {
	if s.Preview == nil {
		return r.StageTimeout
	}
	return max(r.StageTimeout, min(s.Preview.Timeout.D(), longestStep))
}

// openIntent is the step that was begun and has no result.
func openIntent(p store.Progress) (int, bool) {
	for i := range p.Plan.Steps {
		_, begun := p.Keys[key("intent", i)]
		_, failed := p.Keys[key("failed", i)]
		if _, applied := p.Applied[i]; begun && !applied && !failed {
			return i, true
		}
	}
	return 0, false
}

func resolved(alerts []incident.Alert) bool {
	for _, a := range alerts {
		if a.Status != incident.Resolved {
			return false
		}
	}
	return len(alerts) > 0
}

func fillTimes(e *incident.Execution, started time.Time) {
	if e.Started.IsZero() {
		e.Started = started
	}
	if e.Ended.IsZero() {
		e.Ended = time.Now()
	}
}

func key(what string, step int) string { return fmt.Sprintf("%s/%d", what, step) }

// once reports whether neither the step nor its undoing may be done twice.
func once(s incident.Step) bool { return s.Preview != nil && s.Preview.Once }

func stepSummary(s incident.Step) string {
	if s.Preview != nil && s.Preview.Summary != "" {
		return s.Preview.Summary
	}
	return s.Action
}
