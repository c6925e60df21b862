package workloads

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// ofService are the pods that a Service selects; without a selector, those that its
// EndpointSlices name.
func (w *Workloads) ofService(ctx context.Context, namespace, name string) ([]*corev1.Pod, error) {
	if err := w.need(ctx, w.pods, w.services); err != nil {
		return nil, err
	}
	o, ok, err := w.services.GetIndexer().GetByKey(namespace + "/" + name)
	s, is := o.(*corev1.Service)
	if err != nil || !ok || !is {
		return nil, investigate.NothingError(fmt.Sprintf("the Kubernetes API knows no service %s/%s", namespace, name))
	}
	if len(s.Spec.Selector) > 0 {
		return w.selected(s), nil
	}
	return w.endpoints(ctx, s)
}

// selected are the pods with the labels that a Service selects by.
func (w *Workloads) selected(s *corev1.Service) []*corev1.Pod {
	selector := labels.SelectorFromValidatedSet(s.Spec.Selector)
	return slices.DeleteFunc(in[*corev1.Pod](w.pods, s.Namespace), func(p *corev1.Pod) bool { return !selector.Matches(labels.Set(p.Labels)) })
}

// endpoints are the pods that somebody wrote down behind a Service, by their names or
// by their addresses.
func (w *Workloads) endpoints(ctx context.Context, s *corev1.Service) ([]*corev1.Pod, error) {
	if err := w.need(ctx, w.slices); err != nil {
		return nil, err
	}
	found := map[*corev1.Pod]bool{}
	for _, slice := range in[*discoveryv1.EndpointSlice](w.slices, s.Namespace) {
		if slice.Labels[discoveryv1.LabelServiceName] != s.Name {
			continue
		}
		for _, e := range slice.Endpoints {
			if r := e.TargetRef; r != nil && r.Kind == "Pod" {
				if o, ok, _ := w.pods.GetIndexer().GetByKey(s.Namespace + "/" + r.Name); ok {
					found[o.(*corev1.Pod)] = true
				}
				continue
			}
			for _, ip := range e.Addresses {
				for _, p := range w.at(ip) {
					found[p] = true
				}
			}
		}
	}
	var pods []*corev1.Pod
	for p := range found {
		pods = append(pods, p)
	}
	return pods, nil
}

// at are the running pods with an address.
func (w *Workloads) at(ip string) (pods []*corev1.Pod) {
	objects, err := w.pods.GetIndexer().ByIndex(byIP, ip)
	if err != nil {
		return nil // there is such an index
	}
	for _, o := range objects {
		if p := o.(*corev1.Pod); running(p) {
			pods = append(pods, p)
		}
	}
	return pods
}

// ByAddress are the running pods behind an address: the one that has it, or those of
// the Service that has. An address of neither is no error, and nothing.
func (w *Workloads) ByAddress(ctx context.Context, ip netip.Addr) ([]incident.Target, error) {
	if err := w.need(ctx, w.pods, w.services); err != nil {
		return nil, err
	}
	address := ip.Unmap().WithZone("").String()
	if pods := w.at(address); len(pods) > 0 {
		return w.targets(pods, incident.Target{}), nil
	}
	objects, err := w.services.GetIndexer().ByIndex(byIP, address)
	if err != nil || len(objects) != 1 {
		return nil, err
	}
	s := objects[0].(*corev1.Service)
	pods, err := w.ofService(ctx, s.Namespace, s.Name)
	return w.targets(pods, incident.Target{}), err
}
