package workloads

import (
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// Pods are the running pods behind the workload or the service that a target names,
// on its node if it names one, sorted by name. None running is an error that says so.
func (w *Workloads) Pods(ctx context.Context, t incident.Target) ([]incident.Target, error) {
	var found []*corev1.Pod
	var err error
	switch {
	case t.Workload != "":
		found, err = w.ofWorkload(ctx, t)
	case t.Service != "":
		found, err = w.ofService(ctx, t.Namespace, t.Service)
	default:
		return nil, fmt.Errorf("%s is neither a workload nor a service", t)
	}
	if err != nil {
		return nil, err
	}
	pods := w.targets(found, t)
	if len(pods) == 0 {
		where := ""
		if t.Node != "" {
			where = " on node " + t.Node
		}
		return nil, investigate.NothingError(fmt.Sprintf("no pod of %s runs%s; %d are not running", t, where, len(found)))
	}
	return pods, nil
}

// targets are the running pods among those, as targets.
func (w *Workloads) targets(pods []*corev1.Pod, asked incident.Target) (out []incident.Target) {
	for _, p := range pods {
		if !running(p) || asked.Node != "" && !strings.EqualFold(asked.Node, p.Spec.NodeName) {
			continue
		}
		t := incident.Target{Cluster: w.opts.Cluster, Node: p.Spec.NodeName, Namespace: p.Namespace, Pod: p.Name, PodUID: string(p.UID)}
		if uid := p.Annotations[mirrorUID]; uid != "" {
			t.PodUID = uid
		}
		if slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == asked.Container }) {
			t.Container = asked.Container
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b incident.Target) int {
		return strings.Compare(a.Namespace+"/"+a.Pod, b.Namespace+"/"+b.Pod)
	})
	return out
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil && p.Spec.NodeName != ""
}

// ofWorkload goes from the workload to those that it controls, and on to their pods.
func (w *Workloads) ofWorkload(ctx context.Context, t incident.Target) ([]*corev1.Pod, error) {
	what, name := t.WorkloadKind()
	owners := map[string]bool{what + "/" + name: true}
	needs := []*kind{w.pods}
	switch what {
	case "Deployment":
		needs = append(needs, w.replicaSets)
	case "CronJob":
		needs = append(needs, w.jobs)
	}
	if err := w.need(ctx, needs...); err != nil {
		return nil, err
	}
	switch what {
	case "Deployment":
		for _, rs := range in[metav1.Object](w.replicaSets, t.Namespace) {
			if controller(rs) == t.Workload {
				owners["ReplicaSet/"+rs.GetName()] = true
			}
		}
	case "CronJob":
		for _, j := range in[*batchv1.Job](w.jobs, t.Namespace) {
			if controller(j) == t.Workload {
				owners["Job/"+j.Name] = true
			}
		}
	}
	return slices.DeleteFunc(in[*corev1.Pod](w.pods, t.Namespace), func(p *corev1.Pod) bool { return !owners[controller(p)] }), nil
}

// controller is KIND/NAME of what made an object.
func controller(o metav1.Object) string {
	for _, r := range o.GetOwnerReferences() {
		return r.Kind + "/" + r.Name // of several, trim keeps the controller
	}
	return ""
}

// in are the objects of a namespace; of all for "".
func in[T any](k *kind, namespace string) (out []T) {
	_ = cache.ListAllByNamespace(k.GetIndexer(), namespace, labels.Everything(), func(o any) {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	})
	return out
}
