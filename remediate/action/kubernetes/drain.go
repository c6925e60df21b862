package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// DrainParams are the parameters of kubernetes.drain_node.
type DrainParams struct {
	NodeOf
	DeleteEmptyDir bool `json:"deleteEmptyDir,omitempty" jsonschema_description:"Evict pods with emptyDir volumes too, whose data are lost."`
	Bounded
}

// drainNode is kubernetes.drain_node: what it adds to an edit, the cordon, are
// the evictions. Undo uncordons; pods that were evicted stay where they are.
type drainNode struct{ *cluster }

var _ action.Action = (*drainNode)(nil)

// drainWait is how long a drain may take.
const drainWait = 10 * time.Minute

func (*drainNode) Name() string { return "kubernetes.drain_node" }
func (*drainNode) Params() any  { return &DrainParams{} }

// Preview rehearses the cordon and each eviction. A disruption budget that has
// no room now may have some when other pods have moved: it is said, not refused.
func (a *drainNode) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	var p DrainParams
	if err := action.Decode(with, &p); err != nil {
		return incident.Preview{}, err
	}
	wait, err := p.within(drainWait)
	if err != nil {
		return incident.Preview{}, err
	}
	node, o, err := a.node(ctx, target, p.NodeOf)
	if err != nil {
		return incident.Preview{}, err
	}
	// Pods of any namespace may be on the node by then, those of a DaemonSet among them.
	if err := may(ctx, a.client, a.opts, announcing(""), right{"create", "", "pods/eviction", ""}, right{"get", "apps", "daemonsets", ""}); err != nil {
		return incident.Preview{}, err
	}
	ch := change{
		Target: target.String(), Did: "drained node " + node.Name, Wait: incident.Duration(wait),
		Notes:  map[string]string{"node": node.Name, "uid": string(node.UID), "delete_empty_dir": fmt.Sprint(p.DeleteEmptyDir)},
		before: schedulable(!node.Spec.Unschedulable), after: "cordoned and empty",
	}
	if !node.Spec.Unschedulable {
		ch.Edits = []edit{cordonEdit(o, true)}
		if err := a.rehearse(ctx, ch.Edits[0]); err != nil {
			return incident.Preview{}, err
		}
	}
	evictable, err := a.evictable(ctx, ch)
	if err != nil {
		return incident.Preview{}, err
	}
	var waiting []string
	for _, pod := range evictable {
		err := a.evict(ctx, pod.Namespace, pod.Name, string(pod.UID), metav1.DryRunAll)
		switch {
		case apierrors.IsTooManyRequests(err):
			waiting = append(waiting, ref(&pod))
		case err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			return incident.Preview{}, fmt.Errorf("asking the API server for a dry run of the eviction of %s: %w", ref(&pod), err)
		}
	}
	ch.summary = fmt.Sprintf("drain node %s: evict %d pods within %s, respecting their disruption budgets; if that takes longer, uncordon it", node.Name, len(evictable), wait) + managed(o)
	if len(waiting) > 0 {
		ch.summary += "; disruption budgets have no room now for " + strings.Join(waiting, ", ")
	}
	answer := ch.preview()
	answer.Disrupts = len(evictable)
	return answer, nil
}

// evictable lists the pods on the node that a drain evicts, afresh: kubectl's
// own filters leave DaemonSets' and static pods, and refuse what is owned by
// nobody or has data on the node.
func (a *drainNode) evictable(ctx context.Context, ch change) ([]corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	h := &drain.Helper{
		Ctx: ctx, Client: a.client, GracePeriodSeconds: -1, IgnoreAllDaemonSets: true, ChunkSize: 500,
		DeleteEmptyDirData: ch.Notes["delete_empty_dir"] == "true", Out: io.Discard, ErrOut: io.Discard,
	}
	list, errs := h.GetPodsForDeletion(ch.Notes["node"])
	if len(errs) > 0 {
		return nil, fmt.Errorf("listing the pods to evict from node %s: %w", ch.Notes["node"], errors.Join(errs...))
	}
	for _, pod := range list.Pods() {
		if pod.Name == a.opts.Instance {
			return nil, fmt.Errorf("kmend itself runs on node %s, in pod %s", ch.Notes["node"], ref(&pod))
		}
	}
	return list.Pods(), nil
}

// Apply cordons the node and evicts its pods one by one, looking again before
// each. A drain that has no end in its time uncordons the node.
func (a *drainNode) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	ch, err := of(target, step)
	if err != nil {
		return incident.Execution{}, err
	}
	did := incident.Execution{Before: step.Preview.Before, After: step.Preview.After, Result: "already applied", State: ch.encode()}
	for _, e := range ch.Edits {
		_, already, sent, err := a.converge(ctx, e)
		if err != nil && sent {
			return a.uncordon(ctx, ch, did, err)
		}
		if err != nil {
			return incident.Execution{}, err
		}
		if !already {
			did.Result = "applied"
		}
	}
	n, err := a.empty(ctx, ch)
	if n > 0 {
		did.Result = "applied"
	}
	if err != nil {
		return a.uncordon(ctx, ch, did, fmt.Errorf("draining node %s (%d pods evicted): %w", ch.Notes["node"], n, err))
	}
	about := ch
	about.Edits = []edit{{API: nodes, Kind: "Node", Name: ch.Notes["node"], UID: ch.Notes["uid"]}}
	a.tell(ctx, &did, about, corev1.EventTypeNormal, "Apply", fmt.Sprintf("kmend drained the node: %d pods evicted", n))
	return did, nil
}

// empty evicts until no pod is left that a drain evicts; n counts the evictions.
func (a *drainNode) empty(ctx context.Context, ch change) (n int, err error) {
	deadline := time.Now().Add(ch.limit())
	poll := a.opts.Poll
	for {
		list, err := a.evictable(ctx, ch)
		if err == nil && len(list) == 0 {
			return n, nil
		}
		var why string
		evicted := false
		for _, pod := range list {
			if pod.DeletionTimestamp != nil {
				why = ref(&pod) + " is ending"
				continue
			}
			e := a.evict(ctx, pod.Namespace, pod.Name, string(pod.UID))
			if evicted = e == nil; evicted {
				n++
				break // what is on the node may have changed: look again
			}
			if apierrors.IsForbidden(e) {
				return n, e
			}
			why = ref(&pod) + ": " + e.Error()
		}
		switch {
		case err != nil && !transient(err):
			return n, err
		case err != nil:
			why = err.Error()
		}
		if time.Now().After(deadline) {
			return n, fmt.Errorf("not empty after %s: %s", ch.limit(), orElse(why, "pods are still ending"))
		}
		if evicted {
			poll = a.opts.Poll
			continue
		}
		if err := sleep(ctx, poll); err != nil {
			return n, fmt.Errorf("%s: %w", why, err)
		}
		poll = min(poll*3/2, 2*time.Second)
	}
}

// uncordon ends a drain that did not come about.
func (a *drainNode) uncordon(ctx context.Context, ch change, did incident.Execution, cause error) (incident.Execution, error) {
	if errors.Is(cause, context.Canceled) {
		return did, cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, e := range ch.Edits {
		if _, _, _, err := a.converge(ctx, e.back()); err != nil {
			return did, errors.Join(cause, fmt.Errorf("uncordoning: %w", err))
		}
		a.tell(ctx, &did, ch, corev1.EventTypeWarning, "PutBack", fmt.Sprintf("kmend uncordoned the node: %v", cause))
		cause = fmt.Errorf("%w; the node was uncordoned", cause)
	}
	return incident.Execution{}, cause
}

// Undo uncordons the node, if it was kmend that cordoned it.
func (a *drainNode) Undo(ctx context.Context, target incident.Target, step incident.Step, did incident.Execution) (incident.Execution, error) {
	ch, err := decodeChange(did.State)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	if len(ch.Edits) == 0 {
		return incident.Execution{After: "cordoned, as it was before the drain", Result: "undone"}, nil
	}
	return (&editor{cluster: a.cluster, name: a.Name()}).Undo(ctx, target, step, did)
}
