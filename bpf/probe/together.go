package probe

import (
	"context"
	"sync"
	"time"
)

// Together has the probes that measure one target open their windows at the same
// time: each attaches when it can, and then waits in Ready for the others.
type Together struct {
	patience time.Duration

	mu      sync.Mutex
	parties int
	ready   int
	open    chan struct{} // closed when nobody has to be waited for any more
	opened  bool
}

// NewTogether waits at most so long for those who have joined: a probe that hangs
// holds nobody up for longer.
func NewTogether(patience time.Duration) *Together {
	return &Together{patience: patience, open: make(chan struct{})}
}

type togetherKey struct{}

// Join makes the caller one who is waited for until it is ready or leaves. All
// join before the first is ready. leave may be called more than once.
func (t *Together) Join(ctx context.Context) (joined context.Context, leave func()) {
	t.mu.Lock()
	t.parties++
	t.mu.Unlock()
	left := sync.OnceFunc(func() { t.arrive() })
	return context.WithValue(ctx, togetherKey{}, party{t, left}), left
}

type party struct {
	*Together
	arrive func()
}

func (t *Together) arrive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready++
	if t.ready == t.parties && !t.opened {
		t.opened = true
		close(t.open)
	}
}

// Ready is called by a probe that has attached, before it opens its window. It
// returns when everybody who joined is ready too or has left, at once where ctx
// is of nobody who did; and with the cause of ctx when that ends first.
func Ready(ctx context.Context) error {
	p, ok := ctx.Value(togetherKey{}).(party)
	if !ok {
		return nil
	}
	p.arrive()
	return p.wait(ctx)
}

// Opened is Ready for who works for a probe that is waited for and is not itself.
func Opened(ctx context.Context) error {
	p, ok := ctx.Value(togetherKey{}).(party)
	if !ok {
		return nil
	}
	return p.wait(ctx)
}

func (t *Together) wait(ctx context.Context) error {
	late := time.NewTimer(t.patience)
	defer late.Stop()
	select {
	case <-t.open:
	case <-late.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
