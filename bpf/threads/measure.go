package threads

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kmend/kmend/bpf/probe"
)

// Measure attaches, waits for the window, reads the ledger and detaches. It
// blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised: a second one waits for the
// first, or for its own ctx. A target without a thread gives a Result without one.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	return probe.InTurn(ctx, window, &p.turns, p.measure)
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
	if err := probe.Ready(ctx); err != nil {
		return r, err
	}
	start, err := p.begin(window)
	if err != nil {
		return r, err
	}
	r.Start, r.Window = start.at, window
	if err := probe.WaitUntil(ctx, start.clock+window); err != nil {
		return r, err
	}
	records, err := probe.Iterate(p.objs.EndThreads)
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

// begin starts a ledger for every living thread of the target and then sets the
// window. It begins a moment later, so that every event inside it sees it; when
// this process was held up for longer than that, it begins anew.
func (p *Probe) begin(window time.Duration) (opening, error) {
	for margin := 200 * time.Microsecond; margin < time.Second; margin *= 4 {
		if err := p.reset(); err != nil {
			return opening{}, err
		}
		<-time.After(50 * time.Microsecond) // at least one switch, which sets clock_offset
		if _, err := probe.Iterate(p.objs.BeginThreads); err != nil {
			return opening{}, fmt.Errorf("finding the target's threads: %w", err)
		}
		at, now, err := probe.Now()
		if err != nil {
			return opening{}, err
		}
		o := opening{at: at.Add(margin), clock: now + margin}
		// The end first: a span is empty until both are set.
		err = errors.Join(p.objs.WindowEnd.Set(uint64(o.clock+window)), p.objs.WindowStart.Set(uint64(o.clock)))
		if err != nil {
			return opening{}, err
		}
		if now, err := probe.Monotonic(); err != nil || now < o.clock {
			return o, err
		}
	}
	return opening{}, errors.New("opening the window: this process does not get the CPU; the node is overloaded")
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
		p.objs.ClockOffsets.Set(make([]byte, p.objs.ClockOffsets.Size())),
		probe.ClearMap[uint64](p.objs.Holders),
		probe.ClearMap[uint64](p.objs.EndedTotals),
	)
	for cpu := range p.objs.CpuSlots.MaxEntries() {
		err = errors.Join(err, p.objs.CpuSlots.Put(cpu, threadsCpuSlot{Running: holderNobody}))
	}
	return err
}
