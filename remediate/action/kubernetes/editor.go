package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// editor is an action that edits objects. What is special about it is how its
// change is planned, and how one sees that the cluster has followed.
type editor struct {
	*cluster
	name         string
	params       func() any
	irreversible bool
	// plan computes the change from the state of now, and changes nothing.
	plan func(ctx context.Context, target incident.Target, with map[string]any) (change, error)
	// check, where it is set, is asked again right before the change is made.
	check func(ctx context.Context, ch change) error
	// shown says whether the cluster shows the change; why is what is missing. An
	// error ends the waiting. nil: what is stored is all there is to see.
	shown func(ctx context.Context, ch change) (done bool, why string, err error)
}

var _ action.Action = (*editor)(nil)

func (a *editor) Name() string       { return a.name }
func (a *editor) Params() any        { return a.params() }
func (a *editor) Irreversible() bool { return a.irreversible }

// Preview plans the change and has the API server rehearse it.
func (a *editor) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	ch, err := a.plan(ctx, target, with)
	if err != nil {
		return incident.Preview{}, err
	}
	ch.Target = target.String()
	if a.check != nil {
		if err := a.check(ctx, ch); err != nil {
			return incident.Preview{}, err
		}
	}
	for _, e := range ch.Edits {
		if err := a.rehearse(ctx, e); err != nil {
			return incident.Preview{}, err
		}
	}
	// Seeing the change happen needs rights too; missing ones are known now.
	if a.shown != nil {
		if _, _, err := a.shown(ctx, ch); err != nil {
			return incident.Preview{}, fmt.Errorf("looking whether the change would be seen: %w", err)
		}
	}
	return ch.preview(), nil
}

// preview is the answer of the dry run.
func (c change) preview() incident.Preview {
	p := incident.Preview{
		Summary: c.summary, Before: c.before, After: c.after, Server: "kubernetes server-side dry run",
		Preconditions: c.preconditions(), Apply: c.encode(), Adds: c.adds,
	}
	if c.Wait > 0 {
		p.Timeout = stepTimeout(c.limit())
	}
	return p
}

// Apply makes the change and waits until the cluster shows it. A change that
// does not show in time is put back; one that cannot be put back, or that this
// process was stopped over, comes with the Execution that says so.
func (a *editor) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	ch, err := of(target, step)
	if err != nil {
		return incident.Execution{}, err
	}
	did := incident.Execution{Before: step.Preview.Before, After: step.Preview.After, Result: "already applied", State: ch.encode()}
	if a.check != nil && !a.alreadyThere(ctx, ch) {
		if err := a.check(ctx, ch); err != nil {
			return incident.Execution{}, err
		}
	}
	for i, e := range ch.Edits {
		_, already, sent, err := a.converge(ctx, e)
		if errors.Is(err, errNoObject) && i+1 < len(ch.Edits) && a.alreadyThere(ctx, change{Edits: ch.Edits[i+1:]}) {
			continue // what was begun before a crash has replaced it since: a template's rollout
		}
		if err != nil {
			partly := ch
			partly.Edits = ch.Edits[:i]
			if sent {
				partly.Edits = ch.Edits[:i+1]
			}
			return a.fail(ctx, partly, did, err)
		}
		if !already {
			did.Result = "applied"
		}
	}
	if err := a.wait(ctx, ch); err != nil {
		return a.fail(ctx, ch, did, err)
	}
	a.tell(ctx, &did, ch, corev1.EventTypeNormal, "Apply", "kmend "+ch.Did)
	return did, nil
}

// alreadyThere reports whether every edit is done: then nothing is left to be
// checked before it. What cannot be read is not there.
func (a *editor) alreadyThere(ctx context.Context, ch change) bool {
	for _, e := range ch.Edits {
		o, err := a.read(ctx, e)
		if err != nil {
			return false
		}
		if s, _ := e.stands(o); s != asWanted {
			return false
		}
	}
	return true
}

// wait polls until the change shows or its time is over.
func (a *editor) wait(ctx context.Context, ch change) error {
	if a.shown == nil {
		return nil
	}
	limit := ch.limit()
	if limit == 0 {
		limit = a.opts.Wait
	}
	deadline := time.Now().Add(limit)
	for poll := a.opts.Poll; ; poll = min(poll*3/2, 2*time.Second) {
		done, why, err := a.look(ctx, ch)
		switch {
		case done:
			return nil
		case err != nil && !transient(err):
			return err
		case err != nil:
			why = err.Error()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the cluster does not show the change after %s: %s", limit, why)
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("waiting for the cluster to show the change (%s): %w", why, err)
		}
	}
}

// look asks once; an API server that hangs does not hold up the deadline.
func (a *editor) look(ctx context.Context, ch change) (bool, string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	return a.shown(ctx, ch)
}

// fail ends a change that did not come about: it is put back unless it is not
// kmend's any more, cannot be undone, or this process is ending and goes on later.
func (a *editor) fail(ctx context.Context, ch change, did incident.Execution, cause error) (incident.Execution, error) {
	if len(ch.Edits) == 0 {
		return incident.Execution{}, cause // nothing was sent
	}
	did.State = ch.encode()
	if did.Result == "already applied" {
		did.Result = "applied" // it may have been stored all the same
	}
	if errors.Is(cause, context.Canceled) || a.irreversible {
		return did, cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := a.revert(ctx, ch); err != nil {
		if errors.Is(err, errNoObject) || errors.Is(err, errChanged) {
			return incident.Execution{}, errors.Join(cause, err)
		}
		return did, errors.Join(cause, fmt.Errorf("putting it back: %w", err))
	}
	a.tell(ctx, &did, ch, corev1.EventTypeWarning, "PutBack", fmt.Sprintf("kmend %s, and put it back: %v", ch.Did, cause))
	return incident.Execution{}, fmt.Errorf("%w; it was put back", cause)
}

// revert undoes the edits in the opposite order, all of them whatever becomes of one.
func (a *editor) revert(ctx context.Context, ch change) error {
	var errs []error
	for _, e := range ch.back().Edits {
		if _, _, _, err := a.converge(ctx, e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Undo puts the fields back, where they are still what Apply set, and waits for
// the cluster. An object that is gone took the change along: that is no error.
func (a *editor) Undo(ctx context.Context, _ incident.Target, _ incident.Step, did incident.Execution) (incident.Execution, error) {
	if a.irreversible {
		return incident.Execution{}, fmt.Errorf("%s cannot be undone", a.name)
	}
	ch, err := decodeChange(did.State)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	out := incident.Execution{Before: did.After, After: did.Before, Result: "undone"}
	changed, gone := false, 0
	for _, e := range ch.back().Edits {
		_, already, _, err := a.converge(ctx, e)
		switch {
		case errors.Is(err, errNoObject):
			gone++
		case err != nil:
			return incident.Execution{}, err
		}
		changed = changed || err == nil && !already
	}
	if gone == len(ch.Edits) {
		out.After = errNoObject.Error()
		return out, nil
	}
	back := ch.back()
	back.Notes = undoing(ch.Notes)
	if err := a.wait(ctx, back); err != nil && gone == 0 {
		return incident.Execution{}, fmt.Errorf("it is put back, but: %w", err)
	}
	if changed {
		a.tell(ctx, &out, ch, corev1.EventTypeNormal, "Undo", "kmend took back that it "+ch.Did)
	}
	return out, nil
}
