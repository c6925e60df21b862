package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// EvictParams are the parameters of kubernetes.evict_pod.
type EvictParams struct{ Bounded }

// evictPod is kubernetes.evict_pod.
type evictPod struct{ *cluster }

var _ action.Action = (*evictPod)(nil)

// evictWait is how long a pod's budget and its termination may take.
const evictWait = 2 * time.Minute

func (*evictPod) Name() string       { return "kubernetes.evict_pod" }
func (*evictPod) Params() any        { return &EvictParams{} }
func (*evictPod) Irreversible() bool { return true }

// Preview asks for the eviction as a dry run: RBAC and the pod's disruption
// budget answer.
func (a *evictPod) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	var p EvictParams
	if err := action.Decode(with, &p); err != nil {
		return incident.Preview{}, err
	}
	wait, err := p.within(evictWait)
	if err != nil {
		return incident.Preview{}, err
	}
	pod, o, err := a.targetPod(ctx, target)
	if err != nil {
		return incident.Preview{}, err
	}
	switch {
	case metav1.GetControllerOf(pod) == nil:
		return incident.Preview{}, fmt.Errorf("pod %s belongs to no controller: nobody would start it again", ref(pod))
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return incident.Preview{}, fmt.Errorf("pod %s is a static pod: its file on the node is what counts", ref(pod))
	}
	if err := a.evict(ctx, pod.Namespace, pod.Name, string(pod.UID), metav1.DryRunAll); err != nil {
		return incident.Preview{}, fmt.Errorf("asking the API server for a dry run of the eviction: %w", err)
	}
	if err := may(ctx, a.client, a.opts, announcing(pod.Namespace)); err != nil {
		return incident.Preview{}, err
	}
	owner := metav1.GetControllerOf(pod)
	ch := change{
		Target: target.String(), Did: "evicted pod " + ref(pod), Wait: incident.Duration(wait),
		Notes:   map[string]string{"namespace": pod.Namespace, "pod": pod.Name, "uid": string(pod.UID)},
		summary: fmt.Sprintf("evict pod %s from node %s; %s %s starts another", ref(pod), pod.Spec.NodeName, owner.Kind, owner.Name) + managed(o),
		before:  "running", after: "replaced",
	}
	return ch.preview(), nil
}

// Apply evicts the pod, waiting for its disruption budget, and waits until it is gone.
func (a *evictPod) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	ch, err := of(target, step)
	if err != nil {
		return incident.Execution{}, err
	}
	did := incident.Execution{Before: step.Preview.Before, After: step.Preview.After, Result: "already applied", State: ch.encode()}
	namespace, name, uid := ch.Notes["namespace"], ch.Notes["pod"], ch.Notes["uid"]
	if namespace == "" || name == "" || uid == "" {
		return incident.Execution{}, errors.New("reading the preview: it names no pod")
	}
	ctx, cancel := context.WithTimeout(ctx, ch.limit())
	defer cancel()
	var last error
	accepted, sent := false, false
	for poll := a.opts.Poll; ; poll = min(poll*3/2, 2*time.Second) {
		state, err := a.stateOf(ctx, namespace, name, uid)
		switch {
		case err == nil && state == isGone:
			if sent {
				did.Result = "applied"
			}
			a.announcePod(ctx, &did, ch)
			return did, nil
		case err == nil && state == isThere && !accepted:
			err = a.evict(ctx, namespace, name, uid)
			accepted = err == nil // an answer that was lost: ask again, it is the same eviction
			sent = sent || err == nil || maybeStored(err)
		}
		if err != nil && refused(err) {
			return a.unfinished(did, sent, fmt.Errorf("evicting pod %s/%s: %w", namespace, name, err))
		}
		if err != nil && (last == nil || ctx.Err() == nil) {
			last = err // not that the time was over in the middle of a request
		}
		if end := sleep(ctx, poll); end != nil {
			if last != nil {
				end = fmt.Errorf("%w (the last answer: %w)", end, last)
			}
			sent = sent && !a.stands(ctx, namespace, name, uid)
			return a.unfinished(did, sent, fmt.Errorf("evicting pod %s/%s: it is not gone after %s: %w", namespace, name, ch.limit(), end))
		}
	}
}

// stands reports whether the pod is there and not ending, when the time is over:
// then an eviction without an answer was not accepted.
func (a *evictPod) stands(ctx context.Context, namespace, name, uid string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Request)
	defer cancel()
	state, err := a.stateOf(ctx, namespace, name, uid)
	return err == nil && state == isThere
}

// refused reports whether the API server's no to an eviction is its last word: a
// disruption budget may have room later (429), and a pod that is gone (404) or
// another one (409) is found by the next look.
func refused(err error) bool {
	return !apierrors.IsTooManyRequests(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !maybeStored(err)
}

// unfinished is the account of an eviction that has no end: one that may have been
// accepted goes on without kmend.
func (a *evictPod) unfinished(did incident.Execution, sent bool, err error) (incident.Execution, error) {
	if !sent {
		return incident.Execution{}, err
	}
	did.Result = "applied"
	return did, err
}

// Undo is not possible: the pod is gone, and its controller has started another.
func (*evictPod) Undo(context.Context, incident.Target, incident.Step, incident.Execution) (incident.Execution, error) {
	return incident.Execution{}, errors.New("an eviction cannot be undone")
}

func (a *evictPod) announcePod(ctx context.Context, did *incident.Execution, ch change) {
	ch.Edits = []edit{{API: pods, Kind: "Pod", Namespace: ch.Notes["namespace"], Name: ch.Notes["pod"], UID: ch.Notes["uid"]}}
	a.tell(ctx, did, ch, corev1.EventTypeNormal, "Apply", "kmend "+ch.Did)
}

// evict asks for the eviction of this very pod.
func (c *cluster) evict(ctx context.Context, namespace, name, uid string, dryRun ...string) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	id := types.UID(uid)
	err := c.client.PolicyV1().Evictions(namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: namespace, Name: name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &id}, DryRun: dryRun},
	})
	// The message says only that there is a budget; which one, and its numbers, is a cause.
	if why, ok := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause); ok {
		err = fmt.Errorf("%w %s", err, why.Message)
	}
	return err
}

// podState is how far the end of a pod is.
type podState int

const (
	isThere podState = iota
	isEnding
	isGone
)

func (c *cluster) stateOf(ctx context.Context, namespace, name, uid string) (podState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	pod, err := c.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return isGone, nil
	case err != nil:
		return isThere, fmt.Errorf("reading pod %s/%s: %w", namespace, name, err)
	case string(pod.UID) != uid:
		return isGone, nil
	case pod.DeletionTimestamp != nil:
		return isEnding, nil
	}
	return isThere, nil
}
