package threads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MaxWindow bounds a window: the probe costs every switch of the node while it is open.
const MaxWindow = 5 * time.Minute

// Measure attaches, waits for the window, reads the ledger and detaches. It
// blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised: a second one waits for the
// first, or for its own ctx.
//
// A target without a thread gives a Result without one; a directory or process
// that does not exist is an error that is fs.ErrNotExist.
func (p *Probe) Measure(ctx context.Context, t Target, window time.Duration) (Result, error) {
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
		return Result{}, errors.New("measuring threads: the probe is closed")
	}
	r, err := p.measure(ctx, t, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring threads: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, t Target, window time.Duration) (r Result, err error) {
	ls, err := p.attach()
	defer func() {
		if cerr := ls.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	if err != nil {
		return r, err
	}
	if err := p.tell(t); err != nil {
		return r, err
	}
	start, err := p.open(window)
	if err != nil {
		return r, err
	}
	r.Start, r.Window = start.at, window
	if err := wait(ctx, start.clock+window); err != nil {
		return r, err
	}
	records, err := iterate(p.objs.EndThreads)
	if err != nil {
		return r, fmt.Errorf("closing the target's threads: %w", err)
	}
	return r, p.read(&r, records, uint64(start.clock), uint64(start.clock+window))
}

// opening is when a window begins, on both clocks.
type opening struct {
	at    time.Time
	clock time.Duration // CLOCK_MONOTONIC
}

// open starts a ledger for every living thread of the target and then sets the
// window. It begins a moment later, so that every event inside it sees it; when
// this process was held up for longer than that, it begins anew.
func (p *Probe) open(window time.Duration) (opening, error) {
	for margin := 200 * time.Microsecond; margin < time.Second; margin *= 4 {
		if err := p.reset(); err != nil {
			return opening{}, err
		}
		<-time.After(50 * time.Microsecond) // at least one switch, which sets clock_offset
		if _, err := iterate(p.objs.BeginThreads); err != nil {
			return opening{}, fmt.Errorf("finding the target's threads: %w", err)
		}
		now, err := monotonic()
		if err != nil {
			return opening{}, err
		}
		o := opening{at: time.Now().Add(margin), clock: now + margin}
		// The end first: a span is empty until both are set.
		err = errors.Join(p.objs.WindowEnd.Set(uint64(o.clock+window)), p.objs.WindowStart.Set(uint64(o.clock)))
		if err != nil {
			return opening{}, err
		}
		if now, err = monotonic(); err != nil || now < o.clock {
			return o, err
		}
	}
	return opening{}, errors.New("opening the window: this process does not get the CPU; the node is overloaded")
}

// wait returns when the monotonic clock has passed end.
func wait(ctx context.Context, end time.Duration) error {
	for {
		now, err := monotonic()
		if err != nil || now > end {
			return err
		}
		t := time.NewTimer(end - now + 50*time.Microsecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// reset empties what the last window left and begins a new one, still closed.
func (p *Probe) reset() error {
	p.window++
	err := errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.WindowId.Set(p.window),
		p.objs.EndedCount.Set(uint32(0)),
		p.objs.MovedIn.Set(uint32(0)),
		p.objs.Lost.Set(uint64(0)),
		p.objs.ClockOffset.Set(int64(0)),
		clearMap[uint64](p.objs.Holders),
		clearMap[uint64](p.objs.EndedTotals),
	)
	cpus, cpuErr := ebpf.PossibleCPU()
	if cpuErr != nil {
		return errors.Join(err, cpuErr)
	}
	return errors.Join(err, p.objs.CpuSlots.Put(uint32(0), make([]threadsCpuSlot, cpus)))
}

// clearMap deletes every key of a hash.
func clearMap[K comparable](m *ebpf.Map) error {
	for {
		var k K
		err := m.NextKey(nil, &k)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("emptying %s: %w", m, err)
		}
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("emptying %s: %w", m, err)
		}
	}
}

// iterate runs an iterator over every task and returns what it wrote.
func iterate(prog *ebpf.Program) ([]byte, error) {
	it, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// monotonic is the clock of bpf_ktime_get_ns and of task->start_time.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
