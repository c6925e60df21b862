package workloads

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// nameLabels are what programs are named by in the cluster and in their traces.
var nameLabels = [...]string{"app.kubernetes.io/name", "app"}

// Identity is what else a pod is known by.
type Identity struct {
	Workload string   // KIND/NAME: "Deployment/cart"; empty for a pod that nobody made
	Services []string // that select it, sorted
	Name     string   // of its label app.kubernetes.io/name, or app
}

// Identify says what a pod belongs to. A pod that is not known belongs to nothing.
func (w *Workloads) Identify(ctx context.Context, t incident.Target) (Identity, error) {
	if err := w.need(ctx, w.pods, w.services, w.replicaSets, w.jobs); err != nil {
		return Identity{}, err
	}
	o, ok, _ := w.pods.GetIndexer().GetByKey(t.Namespace + "/" + t.Pod)
	if !ok {
		return Identity{}, nil
	}
	p := o.(*pod)
	id := Identity{Workload: w.workload(p)}
	for _, label := range nameLabels {
		if id.Name == "" {
			id.Name = p.labels.Get(label)
		}
	}
	for _, s := range in[*service](w.services, t.Namespace) {
		if s.selects(p) {
			id.Services = append(id.Services, s.name)
		}
	}
	slices.Sort(id.Services)
	return id, nil
}

// workload goes up from a pod to what somebody wrote: past ReplicaSets and Jobs that
// others control.
func (w *Workloads) workload(p *pod) string {
	what, name, _ := strings.Cut(p.controller, "/")
	var above *kind
	switch what {
	case "ReplicaSet":
		above = w.replicaSets
	case "Job":
		above = w.jobs
	default:
		return p.controller
	}
	if o, ok, _ := above.GetIndexer().GetByKey(p.namespace + "/" + name); ok {
		if by := o.(*meta).controller; by != "" {
			return by
		}
	}
	return p.controller
}

// ByName are the running pods that a name in a trace means: those of a Service of that
// name, else of a workload, else those whose label app.kubernetes.io/name or app is it.
// The name may be qualified (cart.shop, shop/cart). Where several namespaces have it,
// those in near count, and without any there, none does: a guess could be wrong.
func (w *Workloads) ByName(ctx context.Context, name, near string) ([]incident.Target, error) {
	if err := w.need(ctx, w.pods, w.services, w.replicaSets, w.jobs); err != nil {
		return nil, err
	}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		name, near = rest, namespace
	} else if rest, namespace, ok := strings.Cut(name, "."); ok {
		namespace, _, _ = strings.Cut(namespace, ".") // cart.shop.svc.cluster.local
		if in[*pod](w.pods, namespace) != nil {
			name, near = rest, namespace
		}
	}
	if name == "" {
		return nil, nil
	}
	for _, find := range []func(string) []*pod{w.servicesNamed, w.workloadsNamed, w.podsLabelled} {
		if pods := w.targets(find(name), incident.Target{}); len(pods) > 0 {
			return oneNamespace(pods, near), nil
		}
	}
	return nil, nil
}

func (w *Workloads) servicesNamed(name string) (pods []*pod) {
	for _, s := range in[*service](w.services, "") {
		if s.name == name && len(s.selector) > 0 {
			pods = append(pods, w.selected(s)...)
		}
	}
	return pods
}

func (w *Workloads) workloadsNamed(name string) []*pod {
	return slices.DeleteFunc(in[*pod](w.pods, ""), func(p *pod) bool {
		_, of, _ := strings.Cut(w.workload(p), "/")
		return of != name
	})
}

func (w *Workloads) podsLabelled(name string) []*pod {
	return slices.DeleteFunc(in[*pod](w.pods, ""), func(p *pod) bool {
		return !slices.ContainsFunc(nameLabels[:], func(label string) bool { return p.labels.Get(label) == name })
	})
}

// oneNamespace are the pods in near, or all of them where they are in one namespace.
func oneNamespace(pods []incident.Target, near string) []incident.Target {
	namespaces := map[string][]incident.Target{}
	for _, p := range pods {
		namespaces[p.Namespace] = append(namespaces[p.Namespace], p)
	}
	if here := namespaces[near]; here != nil {
		return here
	}
	if len(namespaces) == 1 {
		return pods
	}
	return nil
}

// Siblings are the running pods of what a target belongs to: of the workload or
// service that it names, or of the pod's workload.
func (w *Workloads) Siblings(ctx context.Context, t incident.Target) ([]incident.Target, error) {
	if t.Pod != "" {
		id, err := w.Identify(ctx, t)
		if err != nil {
			return nil, err
		}
		if id.Workload == "" {
			return nil, fmt.Errorf("%s belongs to no workload", t)
		}
		t.Workload, t.Service, t.Pod = id.Workload, "", ""
	}
	t.Node = "" // siblings are anywhere
	return w.Pods(ctx, t)
}
