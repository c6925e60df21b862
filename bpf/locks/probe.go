package locks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kmend/kmend/bpf/probe"
)

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs  locksObjects
	turns probe.Turns
}

// Supported is nil or a *probe.UnsupportedError. The tracepoints came in 5.19.
func Supported() error { return probe.Supported("locks", "contention_begin", "contention_end") }

// Load verifies and loads the programs and maps; nothing is attached yet. The
// probe measures whom members holds. The error may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadLocks()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[locksMapTotals].MaxEntries = uint32(o.MaxClasses)
	spec.Maps[locksMapStacks].MaxEntries = uint32(o.MaxClasses)
	spec.Maps[locksMapWaiting].MaxEntries = uint32(o.MaxWaiting)
	spec.Maps[locksMapHolders].MaxEntries = uint32(o.MaxHolders)
	p := &Probe{turns: probe.NewTurns("kernel locks")}
	if err := members.Load(spec, &p.objs, "locks"); err != nil {
		return nil, err
	}
	if err := p.tellImage(); err != nil {
		return nil, errors.Join(err, p.objs.Close())
	}
	return p, nil
}

// Close unloads everything. It waits for a Measure that runs. Closing twice is
// harmless.
func (p *Probe) Close() error { return p.turns.Close(p.objs.Close) }

// Measure attaches, waits for the window, detaches and reads what was waited for.
// It blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	return probe.InTurn(ctx, window, &p.turns, p.measure)
}

func (p *Probe) measure(ctx context.Context, window time.Duration) (Result, error) {
	if err := p.reset(); err != nil {
		return Result{}, err
	}
	// It is detached when the tables are read, so that they do not change meanwhile.
	start, end, err := probe.Observe(ctx, window, p.objs.WindowStart, p.objs.WindowEnd, p.objs.OnContentionBegin, p.objs.OnContentionEnd)
	if err != nil {
		return Result{}, err
	}
	r := Result{Window: window}
	return r, p.read(&r, uint64(start), uint64(end))
}

// reset empties what the last window left.
func (p *Probe) reset() error {
	return errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.Lost.Set(uint64(0)),
		p.objs.UnnamedHolders.Set(uint64(0)),
		probe.ClearMap[uint32](p.objs.Waiting),
		probe.ClearMap[locksClass](p.objs.Totals),
		probe.ClearMap[locksHolderKey](p.objs.Holders),
		probe.ClearMap[uint32](p.objs.Stacks),
	)
}
