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
	m, err := resolve(t, p.kernel)
	if err != nil {
		return Result{}, err
	}
	if err := p.prepare(m); err != nil {
		return Result{}, fmt.Errorf("preparing the window: %w", err)
	}
	r, err := p.measure(ctx, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring threads: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, window time.Duration) (r Result, err error) {
	ls, err := p.attach()
	defer func() {
		if cerr := ls.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	if err != nil {
		return r, err
	}
	time.Sleep(50 * time.Microsecond) // at least one switch, which sets clock_offset
	if _, err := iterate(p.objs.BeginThreads); err != nil {
		return r, fmt.Errorf("finding the target's threads: %w", err)
	}
	now, err := monotonic()
	if err != nil {
		return r, err
	}
	r.Start, r.Window = time.Now(), window
	start, end := uint64(now), uint64(now+window)
	// In this order: a span is empty until both are set.
	if err := errors.Join(p.objs.WindowEnd.Set(end), p.objs.WindowStart.Set(start)); err != nil {
		return r, err
	}
	if err := wait(ctx, now+window); err != nil {
		return r, err
	}
	records, err := iterate(p.objs.EndThreads)
	if err != nil {
		return r, fmt.Errorf("closing the target's threads: %w", err)
	}
	return r, p.read(&r, records, start, end)
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

// prepare empties what the last window left and writes the target.
func (p *Probe) prepare(m members) error {
	if err := p.reset(); err != nil {
		return err
	}
	for _, id := range m.cgroups {
		if err := p.objs.TargetCgroups.Put(id, uint8(1)); err != nil {
			return fmt.Errorf("storing %d cgroups (Options.MaxGroups bounds them): %w", len(m.cgroups), err)
		}
	}
	for _, tgid := range m.processes {
		if err := p.objs.TargetProcesses.Put(tgid, uint8(1)); err != nil {
			return fmt.Errorf("storing %d processes (Options.MaxGroups bounds them): %w", len(m.processes), err)
		}
	}
	p.window++
	byProcess, inherit := uint32(0), uint32(0)
	if len(m.processes) > 0 {
		byProcess = 1
	}
	if m.inherit {
		byProcess, inherit = 1, 1
	}
	return errors.Join(
		p.objs.WindowId.Set(p.window),
		p.objs.TargetHierarchy.Set(uint32(m.hierarchy.kind)),
		p.objs.TargetHierarchyId.Set(m.hierarchy.id),
		p.objs.TargetSubsys.Set(m.hierarchy.subsys),
		p.objs.TargetByProcess.Set(byProcess),
		p.objs.TargetInherit.Set(inherit),
	)
}

func (p *Probe) reset() error {
	err := errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.EndedCount.Set(uint32(0)),
		p.objs.MovedIn.Set(uint32(0)),
		p.objs.Lost.Set(uint64(0)),
		p.objs.ClockOffset.Set(int64(0)),
		clearMap[uint64](p.objs.TargetCgroups),
		clearMap[uint32](p.objs.TargetProcesses),
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
