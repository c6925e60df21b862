package workloads

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// Pods are the running pods behind the workload or the service that a target names,
// on its node if it names one, sorted by name. None running is an error that says so.
func (w *Workloads) Pods(ctx context.Context, t incident.Target) ([]incident.Target, error) {
	var found []*pod
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
func (w *Workloads) targets(pods []*pod, asked incident.Target) (out []incident.Target) {
	for _, p := range pods {
		if !p.running || asked.Node != "" && !strings.EqualFold(asked.Node, p.node) {
			continue
		}
		t := incident.Target{Cluster: w.opts.Cluster, Node: p.node, Namespace: p.namespace, Pod: p.name, PodUID: p.uid}
		if slices.Contains(p.containers, asked.Container) {
			t.Container = asked.Container
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b incident.Target) int {
		return strings.Compare(a.Namespace+"/"+a.Pod, b.Namespace+"/"+b.Pod)
	})
	return out
}

// ofWorkload goes from the workload to those that it controls, and on to their pods.
func (w *Workloads) ofWorkload(ctx context.Context, t incident.Target) ([]*pod, error) {
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
		for _, rs := range in[*meta](w.replicaSets, t.Namespace) {
			if rs.controller == t.Workload {
				owners["ReplicaSet/"+rs.name] = true
			}
		}
	case "CronJob":
		for _, j := range in[*meta](w.jobs, t.Namespace) {
			if j.controller == t.Workload {
				owners["Job/"+j.name] = true
			}
		}
	}
	return slices.DeleteFunc(in[*pod](w.pods, t.Namespace), func(p *pod) bool { return !owners[p.controller] }), nil
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
