package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// MaxWindow bounds a window: a probe costs every event of the node while one is open.
const MaxWindow = 5 * time.Minute

// Turns is for a probe whose tables hold one window: whoever comes second waits.
type Turns struct {
	what   string        // "kernel locks", for errors
	busy   chan struct{} // holds a token while a window is open
	closed bool
}

// NewTurns is for a probe that measures what is named so.
func NewTurns(what string) Turns { return Turns{what: what, busy: make(chan struct{}, 1)} }

// InTurn calls measure when it is its turn, or returns the cause of ctx when that
// ends first.
func InTurn[R any](ctx context.Context, window time.Duration, t *Turns, measure func(context.Context, time.Duration) (R, error)) (R, error) {
	var none R
	if window <= 0 || window > MaxWindow {
		return none, fmt.Errorf("window is %v, allowed are more than 0 up to %v", window, MaxWindow)
	}
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for another window to close: %w", context.Cause(ctx))
	}
	if t.closed {
		return none, fmt.Errorf("measuring %s: the probe is closed", t.what)
	}
	r, err := measure(ctx, window)
	if err != nil {
		return none, fmt.Errorf("measuring %s: %w", t.what, err)
	}
	return r, nil
}

// Close waits for a window that is open and then calls unload. Closing twice is
// harmless.
func (t *Turns) Close(unload func() error) error {
	t.busy <- struct{}{}
	defer func() { <-t.busy }()
	if t.closed {
		return nil
	}
	t.closed = true
	return unload()
}

// OpenWindow begins a window now, CLOCK_MONOTONIC, and sets the program's variables
// to its start and its end in nanoseconds.
func OpenWindow(window time.Duration, startVar, endVar *ebpf.Variable) (start, end time.Duration, err error) {
	if start, err = Monotonic(); err != nil {
		return 0, 0, err
	}
	end = start + window
	// The end first: a span is empty until both are set.
	return start, end, errors.Join(endVar.Set(uint64(end)), startVar.Set(uint64(start)))
}

// Observe attaches programs, opens a window, waits for its end and detaches. It gives
// the window, CLOCK_MONOTONIC; when ctx ends first, the cause.
func Observe(ctx context.Context, window time.Duration, startVar, endVar *ebpf.Variable, programs ...*ebpf.Program) (start, end time.Duration, err error) {
	ls, err := Attach(programs...)
	defer func() { err = errors.Join(err, ls.Close()) }()
	if err != nil {
		return 0, 0, err
	}
	if err := Ready(ctx); err != nil {
		return 0, 0, err
	}
	if start, end, err = OpenWindow(window, startVar, endVar); err != nil {
		return 0, 0, err
	}
	return start, end, WaitUntil(ctx, end)
}
