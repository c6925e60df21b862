package respond

import (
	"context"
	"sync"
)

// bells wake who waits for something that is written in the store. They carry
// nothing: who is woken reads. Listen first, read then, and no ring is missed.
type bells struct {
	mu sync.Mutex
	by map[string]chan struct{}
}

func (b *bells) listen(name string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[string]chan struct{}{}
	}
	c, ok := b.by[name]
	if !ok {
		c = make(chan struct{})
		b.by[name] = c
	}
	return c
}

func (b *bells) ring(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.by[name]; ok {
		close(c)
		delete(b.by, name)
	}
}

// running knows the incidents whose workflow is at work in this process, and how
// to interrupt what each waits for.
type running struct {
	mu sync.Mutex
	by map[string]context.CancelCauseFunc // nil outside of the stages
}

func (r *running) enter(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]context.CancelCauseFunc{}
	}
	if _, there := r.by[id]; there {
		return false
	}
	r.by[id] = nil
	return true
}

func (r *running) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by, id)
}

func (r *running) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.by[id]
	return there
}

// interruptible says how to interrupt what an incident does now; nil: not at all.
func (r *running) interruptible(id string, cancel context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by[id] = cancel
}

// interrupt cancels what an incident's stage waits for.
func (r *running) interrupt(id string, cause error) {
	r.mu.Lock()
	cancel := r.by[id]
	r.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}
