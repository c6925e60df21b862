package respond

import (
	"context"
	"sync"
)

// room bounds how many diagnoses run at the same time, in all and on a node that
// is known by name: probes on one node get in each other's way.
type room struct {
	all     chan struct{}
	perNode int
	mu      sync.Mutex
	nodes   map[string]*seats
}

type seats struct {
	taken chan struct{}
	users int // holding one or waiting for one
}

func newRoom(all, perNode int) *room {
	return &room{all: make(chan struct{}, all), perNode: perNode, nodes: map[string]*seats{}}
}

// enter waits for a place on the node, then for one in all; leave gives both back.
func (r *room) enter(ctx context.Context, node string) (leave func(), err error) {
	release := func() {}
	if node != "" {
		n := r.join(node)
		if err := take(ctx, n.taken); err != nil {
			r.part(node, n)
			return nil, err
		}
		release = func() { <-n.taken; r.part(node, n) }
	}
	if err := take(ctx, r.all); err != nil {
		release()
		return nil, err
	}
	return func() { <-r.all; release() }, nil
}

func (r *room) join(node string) *seats {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[node]
	if n == nil {
		n = &seats{taken: make(chan struct{}, r.perNode)}
		r.nodes[node] = n
	}
	n.users++
	return n
}

func (r *room) part(node string, n *seats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(r.nodes, node)
	}
}

func take(ctx context.Context, c chan struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
