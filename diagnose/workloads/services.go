package workloads

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// ofService are the pods that a Service selects; without a selector, those that its
// EndpointSlices name.
func (w *Workloads) ofService(ctx context.Context, namespace, name string) ([]*pod, error) {
	if err := w.need(ctx, w.pods, w.services); err != nil {
		return nil, err
	}
	o, ok, err := w.services.GetIndexer().GetByKey(namespace + "/" + name)
	s, is := o.(*service)
	if err != nil || !ok || !is {
		return nil, investigate.NothingError(fmt.Sprintf("the Kubernetes API knows no service %s/%s", namespace, name))
	}
	if len(s.selector) > 0 {
		return w.selected(s), nil
	}
	return w.endpoints(ctx, s)
}

// selected are the pods with the labels that a Service selects by.
func (w *Workloads) selected(s *service) []*pod {
	return slices.DeleteFunc(in[*pod](w.pods, s.namespace), func(p *pod) bool { return !s.selects(p) })
}

// selects says whether a Service of the pod's namespace selects it by its labels.
func (s *service) selects(p *pod) bool {
	for k, v := range s.selector {
		if got, ok := p.labels.Lookup(k); !ok || got != v {
			return false
		}
	}
	return len(s.selector) > 0
}

// endpoints are the pods that somebody wrote down behind a Service, by their names or
// by their addresses.
func (w *Workloads) endpoints(ctx context.Context, s *service) ([]*pod, error) {
	if err := w.need(ctx, w.slices); err != nil {
		return nil, err
	}
	found := map[*pod]bool{}
	for _, slice := range in[*slice](w.slices, s.namespace) {
		if slice.service != s.name {
			continue
		}
		for _, e := range slice.endpoints {
			if e.pod != "" {
				if o, ok, _ := w.pods.GetIndexer().GetByKey(s.namespace + "/" + e.pod); ok {
					found[o.(*pod)] = true
				}
				continue
			}
			for _, ip := range e.addresses {
				for _, p := range w.at(ip) {
					found[p] = true
				}
			}
		}
	}
	var pods []*pod
	for p := range found {
		pods = append(pods, p)
	}
	return pods, nil
}

// at are the running pods with an address.
func (w *Workloads) at(ip string) (pods []*pod) {
	objects, err := w.pods.GetIndexer().ByIndex(byIP, ip)
	if err != nil {
		return nil // there is such an index
	}
	for _, o := range objects {
		if p := o.(*pod); p.running {
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
	s := objects[0].(*service)
	pods, err := w.ofService(ctx, s.namespace, s.name)
	return w.targets(pods, incident.Target{}), err
}
