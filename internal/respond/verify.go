package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// verifyTries is how often the effect is measured until it can be judged.
const verifyTries = 3

// verify measures again with the same probe. What is not better is undone.
func (r *Responder) verify(ctx context.Context, p store.Progress) (End, error) {
	if why := p.Plan.Verify.Unmeasured; why != "" {
		return end(incident.Applied, "%d of %d steps applied; the effect is not measured: %s", len(p.Applied), len(p.Plan.Steps), why), nil
	}
	err := r.record(ctx, p.ID, "verifying", store.Change{To: incident.Verifying, Event: incident.Event{
		Kind: "verifying", Message: fmt.Sprintf("measuring %s again for %s", p.Aim(), r.verifyWindow(p))}})
	if err != nil {
		return End{}, err
	}
	if p, err = r.Store.Progress(ctx, p.ID); err != nil {
		return End{}, err
	}
	if p.Verification == nil {
		if p, err = r.measureEffect(ctx, p); err != nil {
			return End{}, err
		}
	}
	v := p.Verification
	switch {
	case v.Better:
		return end(incident.Fixed, "%s", v.Reason), nil
	case p.Plan.Undo == incident.UndoNever:
		return end(incident.Failed, "%s; it stays as it is: the runbook says undo: never", v.Reason), nil
	}
	left, err := r.undo(ctx, p)
	switch {
	case err != nil:
		return End{}, err
	case left != "":
		return end(incident.Failed, "%s; %s", v.Reason, left), nil
	}
	return end(incident.Undone, "%s; it was undone", v.Reason), nil
}

// measureEffect waits until the plan's effect has settled and compares.
func (r *Responder) measureEffect(ctx context.Context, p store.Progress) (store.Progress, error) {
	settled := p.Keys["verifying"].At.Add(p.Plan.Verify.Settle.D())
	if err := sleep(ctx, time.Until(settled)); err != nil {
		return p, err
	}
	v, err := r.measureAfter(ctx, p)
	if err != nil {
		return p, err
	}
	word := "not better"
	if v.Better {
		word = "better"
	}
	err = r.record(ctx, p.ID, "verified", store.Change{Verification: &v, Event: incident.Event{
		Kind: "verified", Message: fmt.Sprintf("%s: %s", word, v.Reason)}})
	if err != nil {
		return p, err
	}
	return r.Store.Progress(ctx, p.ID)
}

// measureAfter measures what the plan did. Where nothing can be said (the agent is
// busy, events were lost) it measures again: that alone is no reason to undo what
// works. So it does where it is much better and not gone: what had piled up is worked
// off then, or the hypervisor took a CPU, and undoing would bring the worse back.
func (r *Responder) measureAfter(ctx context.Context, p store.Progress) (incident.Verification, error) {
	for try := 1; ; try++ {
		d, err := r.measure(ctx, p.Aim(), r.verifyWindow(p), func() error { return nil })
		if err != nil {
			return incident.Verification{}, err
		}
		v := r.Executor.Verify(*p.Plan, *p.Diagnosis, d)
		unclear := verdictOf(d) == incident.Inconclusive || v.Improved && !v.Better
		if !unclear || try == verifyTries {
			return v, nil
		}
		r.Logger.Warn("effect is measured again", "incident", p.ID, "try", try, "said", v.Reason)
		if err := sleep(ctx, time.Duration(try)*time.Second); err != nil {
			return v, err
		}
	}
}

func (r *Responder) verifyWindow(p store.Progress) time.Duration {
	if w := p.Plan.Verify.Window.D(); w > 0 {
		return w
	}
	return r.Window
}

// undo puts back what was applied, last step first. left says what stays and
// why, "" when nothing does.
func (r *Responder) undo(ctx context.Context, p store.Progress) (left string, err error) {
	if p.Plan.Undo == incident.UndoNever {
		return "what was applied stays: the runbook says undo: never", nil
	}
	steps := make([]int, 0, len(p.Applied))
	for i := range p.Applied {
		steps = append(steps, i)
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	for _, i := range steps {
		if _, done := p.Undone[i]; done {
			continue
		}
		why, err := r.heldBack(ctx)
		if err != nil {
			return "", err
		}
		if why != "" {
			return fmt.Sprintf("step %d stays as it is and was not undone: %s", i+1, why), nil
		}
		if left, err = r.undoStep(ctx, p, i); left != "" || err != nil {
			return left, err
		}
	}
	return "", nil
}

// heldBack says why nothing may be put back now, "" when it may. Whether kmend is
// paused is asked until it is known, for as long as a stage may take: undoing what
// does not help is worth waiting for, and doing it against a pause is not.
func (r *Responder) heldBack(ctx context.Context) (string, error) {
	for until := time.Now().Add(r.StageTimeout); ; {
		why, err := r.Guard.Paused(ctx)
		switch {
		case err == nil:
			return why, nil
		case time.Now().After(until):
			return fmt.Sprintf("whether kmend is paused is not known: %v", err), nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return "", err
		}
	}
}

func (r *Responder) undoStep(ctx context.Context, p store.Progress, i int) (left string, err error) {
	if p.Plan.Steps[i].Irreversible {
		return fmt.Sprintf("step %d cannot be undone", i+1), nil
	}
	if _, failed := p.Keys[key("undo_failed", i)]; failed {
		return fmt.Sprintf("step %d could not be undone, see the timeline", i+1), nil
	}
	if _, again := p.Keys[key("undo_intent", i)]; again && once(p.Plan.Steps[i]) {
		left = fmt.Sprintf("kmend had stopped while undoing step %d, which must not be done twice: look at the target", i+1)
		return left, r.record(ctx, p.ID, key("undo_failed", i), store.Change{Event: incident.Event{Kind: "undo_failed", Message: left}})
	}
	if err := r.record(ctx, p.ID, key("undo_intent", i), store.Change{Event: incident.Event{
		Kind: "undo_intent", Message: fmt.Sprintf("undoing step %d of %d", i+1, len(p.Plan.Steps))}}); err != nil {
		return "", err
	}
	started := time.Now()
	e, err := r.bounded(ctx, p.Plan.Steps[i], func(ctx context.Context) (incident.Execution, error) {
		return r.Executor.Undo(ctx, *p.Plan, p.Applied[i])
	})
	if errors.Is(err, errLapsed) {
		return "", err
	}
	if err != nil {
		left = fmt.Sprintf("undoing step %d: %v", i+1, err)
		return left, r.recordAct(ctx, p.ID, key("undo_failed", i), store.Change{Event: incident.Event{Kind: "undo_failed", Message: left}})
	}
	e.Step, e.Action = i, p.Plan.Steps[i].Action
	fillTimes(&e, started)
	return "", r.recordAct(ctx, p.ID, key("undone", i), store.Change{Act: store.Undo, Execution: &e, Event: incident.Event{
		Kind: "undone", Message: fmt.Sprintf("step %d of %d: %s: %s -> %s", i+1, len(p.Plan.Steps), e.Result, e.Before, e.After)}})
}
