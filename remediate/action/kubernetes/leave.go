package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// LeaveParams are the parameters of kubernetes.leave_service.
type LeaveParams struct {
	Bounded
}

// left is the value of the label by which a Service knew the pod, while the pod is out of it.
const left = "kmend-took-it-out"

func (c *cluster) leaveService() *editor {
	return &editor{cluster: c, name: "kubernetes.leave_service", params: func() any { return &LeaveParams{} },
		plan: c.planLeave, check: c.othersServe, shown: c.hasLeft}
}

// planLeave takes a pod out of its Services by changing one label of each one's
// selector. The pod goes on running, so that it can be looked at.
func (c *cluster) planLeave(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p LeaveParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(c.opts.Wait)
	if err != nil {
		return change{}, err
	}
	pod, o, err := c.targetPod(ctx, target)
	if err != nil {
		return change{}, err
	}
	selecting, err := c.servicesOf(ctx, pod)
	if err != nil {
		return change{}, err
	}
	if len(selecting) == 0 {
		return change{}, fmt.Errorf("nothing to do: no Service sends anything to pod %s", ref(pod))
	}
	owners, err := c.ownerKeys(ctx, o)
	if err != nil {
		return change{}, err
	}
	keys, names, orphan := leaving(selecting, owners)
	if r := metav1.GetControllerOf(pod); orphan && (r == nil || r.Kind != "ReplicaSet") {
		return change{}, fmt.Errorf("pod %s cannot leave its Services: they know it by the labels by which its controller does, which would not replace it", ref(pod))
	}
	e := edited(pods, o)
	for _, key := range keys {
		e.Fields = append(e.Fields, to(o, left, "metadata", "labels", key))
	}
	summary := fmt.Sprintf("take pod %s out of %s; it goes on running", ref(pod), strings.Join(names, ", "))
	if orphan {
		summary += ", and its ReplicaSet starts another in its place"
	}
	return change{
		Edits: []edit{e}, Did: fmt.Sprintf("took pod %s out of %s", ref(pod), strings.Join(names, ", ")), Wait: incident.Duration(wait),
		Notes: map[string]string{"services": strings.Join(names, ","), "namespace": pod.Namespace}, summary: summary,
		before: "in " + strings.Join(names, ", "), after: "in no Service",
	}, nil
}

// leaving picks the labels to change: for each Service one that no controller
// goes by, where there is one. orphan says that there is not always one.
func leaving(selecting []corev1.Service, owners map[string]bool) (keys, names []string, orphan bool) {
	picked := map[string]bool{}
	for _, s := range selecting {
		names = append(names, s.Name)
		var best string
		for _, key := range slices.Sorted(maps.Keys(s.Spec.Selector)) {
			if picked[key] || best == "" || owners[best] && !owners[key] {
				best = key
			}
			if picked[key] {
				break
			}
		}
		orphan = orphan || owners[best]
		picked[best] = true
	}
	slices.Sort(names)
	return slices.Sorted(maps.Keys(picked)), names, orphan
}

// othersServe refuses to take the last ready pod out of a Service.
func (c *cluster) othersServe(ctx context.Context, ch change) error {
	for service := range strings.SplitSeq(ch.Notes["services"], ",") {
		uids, err := c.serving(ctx, ch.Notes["namespace"], service)
		if err != nil {
			return err
		}
		delete(uids, ch.Edits[0].UID)
		if len(uids) == 0 {
			return fmt.Errorf("no other pod of Service %s/%s is ready: taking this one out would leave nobody to answer", ch.Notes["namespace"], service)
		}
	}
	return nil
}

// hasLeft says whether the Services have let the pod go, or have it back.
func (c *cluster) hasLeft(ctx context.Context, ch change) (bool, string, error) {
	back := ch.Notes["undo"] != ""
	if back {
		o, err := c.read(ctx, ch.Edits[0])
		if err != nil {
			return false, "", err
		}
		if ready, err := readyNow(o); err != nil || !ready {
			return true, "", err // a pod that is not ready is not sent anything, in or out
		}
	}
	for service := range strings.SplitSeq(ch.Notes["services"], ",") {
		uids, err := c.serving(ctx, ch.Notes["namespace"], service)
		if err != nil {
			return false, "", err
		}
		if uids[ch.Edits[0].UID] != back {
			return false, "the endpoints of Service " + service + " have not followed", nil
		}
	}
	return true, "", nil
}

func readyNow(o *unstructured.Unstructured) (bool, error) {
	pod, err := typed[corev1.Pod](o)
	return err == nil && isReady(pod), err
}
