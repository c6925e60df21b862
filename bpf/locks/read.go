package locks

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// LCB_F_* of include/trace/events/lock.h
const (
	flagSpin = 1 << iota
	flagRead
	flagWrite
	flagRT
	flagPercpu
	flagMutex
)

// frames is FRAMES of locks.bpf.c.
const frames = 32

func (p *Probe) read(r *Result, start, end uint64) error {
	totals, err := probe.Entries[locksClass, locksTotal](p.objs.Totals)
	if err != nil {
		return err
	}
	if err := p.addOpen(totals, start, end); err != nil {
		return err
	}
	holders, err := p.holders()
	if err != nil {
		return err
	}
	for class, t := range totals {
		w := Wait{
			Known: Known(class.Known), Address: class.Address, Kind: kind(class.Flags), Writer: class.Flags&flagWrite != 0,
			Count: t.Count, Spin: time.Duration(t.SpinNs), Sleep: time.Duration(t.SleepNs), Longest: time.Duration(t.LongestNs),
			Holders: holders[class],
		}
		if w.Stack, err = p.stack(class.Stack); err != nil {
			return err
		}
		if w.Stack == nil {
			r.NoStack += t.Count
		}
		r.Waits = append(r.Waits, w)
	}
	slices.SortFunc(r.Waits, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(b.Spin+b.Sleep, a.Spin+a.Sleep), cmp.Compare(b.Count, a.Count), slices.Compare(a.Stack, b.Stack))
	})
	return errors.Join(p.objs.Lost.Get(&r.Lost), p.objs.UnnamedHolders.Get(&r.NoHolder))
}

// addOpen closes the waits that go on at the end of the window. Only those that
// sleep: what spins is over in a moment, and one that seems not to be ended where
// the probe did not see it.
func (p *Probe) addOpen(totals map[locksClass]locksTotal, start, end uint64) error {
	waiting, err := probe.Entries[uint32, locksOpenWaits](p.objs.Waiting)
	if err != nil {
		return err
	}
	for _, o := range waiting {
		for _, w := range o.Pile[:min(int(o.Depth), len(o.Pile))] {
			from := max(w.Since, start)
			if w.Spins != 0 || from >= end {
				continue
			}
			t := totals[w.Class]
			sleep := w.SleepNs + end - from
			t.Count++
			t.SpinNs += w.SpinNs
			t.SleepNs += sleep
			t.LongestNs = max(t.LongestNs, sleep+w.SpinNs)
			totals[w.Class] = t
		}
	}
	return nil
}

func (p *Probe) holders() (map[locksClass][]Holder, error) {
	all, err := probe.Entries[locksHolderKey, locksHolder](p.objs.Holders)
	if err != nil {
		return nil, err
	}
	out := map[locksClass][]Holder{}
	for k, h := range all {
		out[k.Class] = append(out[k.Class], Holder{
			PID: int(k.Tgid), TID: int(k.Tid), Comm: probe.Comm(h.Comm), Count: h.Count, Wait: time.Duration(h.WaitNs),
		})
	}
	for _, hs := range out {
		slices.SortFunc(hs, func(a, b Holder) int { return cmp.Or(cmp.Compare(b.Wait, a.Wait), cmp.Compare(a.TID, b.TID)) })
	}
	return out, nil
}

// stack is nil when the kernel had no room for it, or could not walk it.
func (p *Probe) stack(id int32) ([]uint64, error) {
	var ips [frames]uint64
	if id < 0 {
		return nil, nil
	}
	if err := p.objs.Stacks.Lookup(uint32(id), &ips); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("reading stack %d: %w", id, err)
	}
	n := slices.Index(ips[:], 0)
	if n < 0 {
		n = len(ips)
	}
	return slices.Clone(ips[:n]), nil
}

// kind follows the callers of trace_contention_begin in kernel/locking.
func kind(flags uint32) Kind {
	switch {
	case flags&flagMutex != 0:
		return Mutex
	case flags&flagPercpu != 0:
		return PercpuSem
	case flags&flagRT != 0:
		return RTMutex
	case flags&flagSpin != 0 && flags&(flagRead|flagWrite) != 0:
		return RWLock
	case flags&flagSpin != 0:
		return Spinlock
	case flags&(flagRead|flagWrite) != 0:
		return RWSem
	}
	return Semaphore
}
