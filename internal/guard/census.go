package guard

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/internal/workload"
	"github.com/kmend/kmend/policies"
)

// page is how many nodes or pods of the whole cluster are asked for at once: a few MB.
const page = 500

// counts are the pods of the whole cluster, counted.
type counts struct {
	cluster                  policies.Extent
	zones, nodes, namespaces map[string]policies.Extent
}

// census counts all pods of a cluster for everybody who asks at the same time: in a
// storm of alerts hundreds do, and each list of a large cluster is of 100 MB and more.
// What somebody is told was begun after they asked, as if they had counted alone.
type census struct {
	client client.Interface
	one    chan struct{} // held by the count that is under way

	mu   sync.Mutex
	next *tally // that has not begun
}

// tally is one count; done is closed when it is over.
type tally struct {
	done    chan struct{}
	counts  counts
	err     error
	stopped bool // whoever counted was; that is not the end of who waited
}

func newCensus(c client.Interface) *census { return &census{client: c, one: make(chan struct{}, 1)} }

// take counts, or waits for a count that begins after it was asked for.
func (c *census) take(ctx context.Context) (counts, error) {
	for {
		c.mu.Lock()
		t, mine := c.next, c.next == nil
		if mine {
			t = &tally{done: make(chan struct{})}
			c.next = t
		}
		c.mu.Unlock()
		if mine {
			c.run(ctx, t)
		}
		select {
		case <-t.done:
		case <-ctx.Done():
			return counts{}, context.Cause(ctx)
		}
		if !t.stopped || mine {
			return t.counts, t.err
		}
	}
}

// run counts after the count before it.
func (c *census) run(ctx context.Context, t *tally) {
	defer close(t.done)
	begin := func() {
		c.mu.Lock()
		c.next = nil
		c.mu.Unlock()
	}
	select {
	case c.one <- struct{}{}:
		defer func() { <-c.one }()
		begin()
		t.counts, t.err = c.count(ctx)
	case <-ctx.Done():
		begin()
		t.err = context.Cause(ctx)
	}
	t.stopped = ctx.Err() != nil
}

func (c *census) count(ctx context.Context) (counts, error) {
	out := counts{zones: map[string]policies.Extent{}, nodes: map[string]policies.Extent{}, namespaces: map[string]policies.Extent{}}
	zone := map[string]string{} // by node
	for o := (metav1.ListOptions{Limit: page}); ; {
		list, err := c.client.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return counts{}, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range list.Items {
			zone[list.Items[i].Name] = list.Items[i].Labels[corev1.LabelTopologyZone]
		}
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	for o := (metav1.ListOptions{Limit: page}); ; {
		list, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return counts{}, fmt.Errorf("listing pods: %w", err)
		}
		for i := range list.Items {
			if p := &list.Items[i]; !workload.Ended(p) {
				out.add(p, zone)
			}
		}
		if o.Continue = list.Continue; o.Continue == "" {
			return out, nil
		}
	}
}

func (n *counts) add(p *corev1.Pod, zone map[string]string) {
	disrupted := !ready(p)
	n.cluster = more(n.cluster, disrupted)
	n.namespaces[p.Namespace] = more(n.namespaces[p.Namespace], disrupted)
	n.nodes[p.Spec.NodeName] = more(n.nodes[p.Spec.NodeName], disrupted)
	if z, there := zone[p.Spec.NodeName]; there {
		n.zones[z] = more(n.zones[z], disrupted)
	}
}

// more is an extent with another pod or node.
func more(e policies.Extent, disrupted bool) policies.Extent {
	e.Total++
	if disrupted {
		e.Disrupted++
	}
	return e
}
