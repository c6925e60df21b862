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

// Apply resizes the container and waits until the kubelet reports the new
// resources. When the kubelet refuses (Infeasible), does not get to it in
// Options.Wait (Deferred), or the container restarts though it must not, the
// resources are put back and the error says why. A ctx that is cancelled while
// waiting is the end of this process, not of the step: the resize stays, the
// Execution that comes with the error says so, and Apply goes on from there when
// it is called again. Whatever else ends it after a patch that may have been
// stored is put back too, or comes with the Execution that Undo needs.
func (a *ResizeCPU) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil {
		return incident.Execution{}, errors.New("the step was never previewed")
	}
	r, err := decode(step.Preview.Apply)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading the preview: %w", err)
	}
	if r.namespace != target.Namespace || r.pod != target.Pod {
		return incident.Execution{}, fmt.Errorf("the preview is of pod %s/%s and the target is %s", r.namespace, r.pod, target)
	}
	template := step.Preview.Apply["template"]
	out := incident.Execution{Before: r.from.String(), After: r.to.String(), Result: "applied", State: withTemplate(r.encode(), template)}
	pod, already, sent, err := a.set(ctx, r)
	if errors.Is(err, errGone) && !sent && a.rolledAway(ctx, template) {
		out.Result = "already applied"
		if _, err := a.applyTemplate(ctx, target, template); err != nil { // it may still roll
			return incident.Execution{}, err
		}
		return out, nil
	}
	if err != nil && sent {
		return a.fail(ctx, r, out, err)
	}
	if err != nil {
		return incident.Execution{}, err
	}
	if already {
		out.Result = "already applied"
	}
	if err := a.settle(ctx, r, pod); err != nil {
		return a.fail(ctx, r, out, err)
	}
	if x, err := a.applyTemplate(ctx, target, template); err != nil {
		if x.Result != "" || errors.Is(err, context.Canceled) {
			return out, err // what stays is for Undo
		}
		// As text: somebody who changed the template has not changed the pod.
		return a.fail(ctx, r, out, errors.New("changing the template: "+err.Error()))
	}
	a.tell(ctx, &out, r, corev1.EventTypeNormal, "Resize",
		fmt.Sprintf("kmend raised the CPU of container %s in place from %s to %s", r.container, r.from, r.to))
	return out, nil
}

// fail ends a resize that did not come about: it puts the resources back unless
// they are not kmend's any more, or this process is ending and will go on later.
func (a *ResizeCPU) fail(ctx context.Context, r resize, did incident.Execution, cause error) (incident.Execution, error) {
	switch {
	case errors.Is(cause, context.Canceled):
		return did, cause
	case errors.Is(cause, errGone), errors.Is(cause, errChanged):
		return incident.Execution{}, cause
	}
	switch err := a.putBack(ctx, r, cause); {
	case err == nil:
		return incident.Execution{}, fmt.Errorf("%w; the limit was put back to %s", cause, action.CPUs(r.from.limit))
	case errors.Is(err, errGone), errors.Is(err, errChanged):
		return incident.Execution{}, errors.Join(cause, err)
	default:
		return did, errors.Join(cause, err)
	}
}

// Undo puts the resources back, if they are still what Apply set, and waits for
// the kubelet. A pod that is gone took them along: that is no error.
func (a *ResizeCPU) Undo(ctx context.Context, target incident.Target, step incident.Step, did incident.Execution) (incident.Execution, error) {
	r, err := decode(did.State)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	if err := a.undoTemplate(ctx, target, step, did.State["template"]); err != nil {
		return incident.Execution{}, err
	}
	out := incident.Execution{Before: r.to.String(), After: r.from.String(), Result: "undone"}
	pod, already, _, err := a.set(ctx, r.back())
	if errors.Is(err, errGone) {
		out.After = errGone.Error()
		return out, nil
	}
	if err != nil {
		return incident.Execution{}, err
	}
	if err := a.settle(ctx, r.back(), pod); err != nil {
		return incident.Execution{}, fmt.Errorf("the spec is back to %s, but: %w", r.from, err)
	}
	if !already {
		a.tell(ctx, &out, r, corev1.EventTypeNormal, "Undo",
			fmt.Sprintf("kmend put the CPU of container %s back from %s to %s, because raising it did not help", r.container, r.to, r.from))
	}
	return out, nil
}

// settle waits until the kubelet reports the resources r.to, where pod is as it
// was when they were written. It fails with what the kubelet says.
func (a *ResizeCPU) settle(ctx context.Context, r resize, pod *corev1.Pod) error {
	generation, restarts := pod.Generation, restartsOf(pod, r.container)
	deadline := time.Now().Add(a.opts.Wait)
	for poll := a.opts.Poll; ; poll = min(poll*3/2, time.Second) {
		p, why := look(pod, r.container, r.to, generation)
		n := restartsOf(pod, r.container) - restarts
		switch {
		case n > 0 && !r.allowRestart:
			return fmt.Errorf("container %s of pod %s restarted while it was resized", r.container, ref(pod))
		case p == done:
			return nil
		case p == infeasible:
			return fmt.Errorf("the kubelet refuses to resize pod %s: %s", ref(pod), why)
		case time.Now().After(deadline):
			return fmt.Errorf("the kubelet did not resize pod %s in %s: %s", ref(pod), a.opts.Wait, why)
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("waiting for the resize of pod %s (%s): %w", ref(pod), why, err)
		}
		next, err := a.read(ctx, r)
		switch {
		case errors.Is(err, errGone):
			return err
		case err == nil:
			pod = next // else the API server is away for a moment: look again until the deadline
		}
		if c, ok := container(pod, r.container); !ok || cpuOf(c.Resources) != r.to {
			return fmt.Errorf("resources of pod %s while it was resized: %w", ref(pod), errChanged)
		}
	}
}

// patience is how long putting back may take, also when the time for the step is over.
const patience = 15 * time.Second

// putBack undoes a resize that was not done.
func (a *ResizeCPU) putBack(ctx context.Context, r resize, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, already, _, err := a.set(ctx, r.back()); err != nil {
		return fmt.Errorf("putting the limit back: %w", err)
	} else if already {
		return nil
	}
	a.tell(ctx, &incident.Execution{}, r, corev1.EventTypeWarning, "PutBack",
		fmt.Sprintf("kmend put the CPU of container %s back from %s to %s: %v", r.container, r.to, r.from, cause))
	return nil
}

func restartsOf(pod *corev1.Pod, name string) int32 {
	if s := statusOf(pod, name); s != nil {
		return s.RestartCount
	}
	return 0
}
