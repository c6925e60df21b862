package futex

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// MaxWindow bounds a window.
const MaxWindow = 5 * time.Minute

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs   futexObjects
	stacks *ebpf.Memory  // of the map stacks
	busy   chan struct{} // holds a token while a window is open or after Close
	closed bool
}

// Supported is nil or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("futex", "sched_switch", "sched_waking") }

// Load verifies and loads the programs and maps; nothing is attached yet. The
// probe measures whom members holds. The error may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadFutex()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	for _, name := range []string{futexMapWords, futexMapParts, futexMapWaiting} {
		spec.Maps[name].MaxEntries = uint32(o.MaxWaits)
	}
	for _, name := range []string{futexMapStacks, futexMapSamples} {
		spec.Maps[name].MaxEntries = uint32(o.MaxStacks)
	}
	p := &Probe{busy: make(chan struct{}, 1)}
	if err := members.Load(spec, &p.objs, "futex"); err != nil {
		return nil, err
	}
	if p.stacks, err = p.objs.Stacks.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the stacks: %w", err), p.objs.Close())
	}
	return p, nil
}

// Close unloads everything. It waits for a Measure that runs. Closing twice is
// harmless.
func (p *Probe) Close() error {
	p.busy <- struct{}{}
	defer func() { <-p.busy }()
	if p.closed {
		return nil
	}
	p.closed = true
	return p.objs.Close()
}

// Measure attaches, waits for the window, detaches and reads what was waited for.
// It blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	if window <= 0 || window > MaxWindow {
		return Result{}, fmt.Errorf("window is %v, allowed are more than 0 up to %v", window, MaxWindow)
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for another window to close: %w", context.Cause(ctx))
	}
	if p.closed {
		return Result{}, errors.New("measuring futexes: the probe is closed")
	}
	r, err := p.measure(ctx, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring futexes: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, window time.Duration) (Result, error) {
	if err := p.reset(); err != nil {
		return Result{}, err
	}
	ls, err := probe.Attach(p.objs.OnSwitch, p.objs.OnWaking)
	if err != nil {
		return Result{}, errors.Join(err, ls.Close())
	}
	end, err := p.open(window)
	if err == nil {
		err = probe.WaitUntil(ctx, end)
	}
	// Detached first, so that the tables do not change while they are read.
	if err := errors.Join(err, ls.Close()); err != nil {
		return Result{}, err
	}
	r := Result{Window: window}
	return r, p.read(&r, uint64(end-window), uint64(end))
}

// open begins the window now and says when it ends, CLOCK_MONOTONIC.
func (p *Probe) open(window time.Duration) (time.Duration, error) {
	now, err := probe.Monotonic()
	if err != nil {
		return 0, err
	}
	// The end first: a span is empty until both are set.
	return now + window, errors.Join(p.objs.WindowEnd.Set(uint64(now+window)), p.objs.WindowStart.Set(uint64(now)))
}

// reset empties what the last window left.
func (p *Probe) reset() error {
	return errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.Lost.Set(uint64(0)),
		p.objs.StacksWanted.Set(uint32(0)),
		probe.ClearMap[uint32](p.objs.Waiting),
		probe.ClearMap[futexAddress](p.objs.Words),
		probe.ClearMap[futexPartKey](p.objs.Parts),
	)
}
