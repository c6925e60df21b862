package futex

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/stack"
)

func (p *Probe) read(r *Result, start, end uint64) error {
	words, err := probe.Entries[futexAddress, futexWord](p.objs.Words)
	if err != nil {
		return err
	}
	parts, err := probe.Entries[futexPartKey, futexPart](p.objs.Parts)
	if err != nil {
		return err
	}
	waiting, err := probe.Entries[uint32, futexOpenWait](p.objs.Waiting)
	if err != nil {
		return err
	}
	closeOpen(words, parts, waiting, start, end)
	samples, err := p.samples(r)
	if err != nil {
		return err
	}
	threads := map[futexAddress][]Thread{}
	for k, t := range parts {
		if t.Waits == 0 && t.WaitNs == 0 && t.Wakes == 0 {
			continue // outside of the window
		}
		threads[k.At] = append(threads[k.At], Thread{
			PID: int(k.Tgid), TID: int(k.Tid), Comm: probe.Comm(t.Comm),
			Waits: t.Waits, Wait: time.Duration(t.WaitNs), Longest: time.Duration(t.LongestNs), Unwoken: t.Unwoken,
			Wakes: t.Wakes, Held: time.Duration(t.HeldNs), Helds: t.Held, LongestHeld: time.Duration(t.LongestHeldNs),
		})
	}
	for at, ts := range threads {
		w := words[at]
		slices.SortFunc(ts, func(a, b Thread) int {
			return cmp.Or(cmp.Compare(b.Wait, a.Wait), cmp.Compare(b.Wakes, a.Wakes), cmp.Compare(a.TID, b.TID))
		})
		r.Addresses = append(r.Addresses, Address{
			Address: at.Address, PID: int(at.Tgid),
			Waits: w.Waits, Same: w.Same, Zero: w.Zero, PI: w.Pi, Value: w.Value,
			Contended: time.Duration(w.Contended), Wakes: w.Wakes, Many: w.Many,
			Threads: ts, Samples: samples[at],
		})
	}
	slices.SortFunc(r.Addresses, func(a, b Address) int {
		return cmp.Or(cmp.Compare(b.Wait(), a.Wait()), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Address, b.Address))
	})
	return p.objs.Lost.Get(&r.Lost)
}

// closeOpen ends the waits that go on at the end of the window.
func closeOpen(words map[futexAddress]futexWord, parts map[futexPartKey]futexPart, waiting map[uint32]futexOpenWait, start, end uint64) {
	for tid, o := range waiting {
		from := max(o.Since, start)
		if from >= end {
			continue
		}
		k := futexPartKey{At: o.At, Tid: tid, Tgid: o.Tgid}
		t, ok := parts[k]
		if !ok { // counted as lost
			continue
		}
		t.WaitNs += end - from
		t.LongestNs = max(t.LongestNs, end-from)
		parts[k] = t
	}
	// Whoever waits now may have come after the window; that somebody always did
	// since before its end is what counts.
	for at, w := range words {
		if from := max(w.Since, start); w.Waiting > 0 && from < end {
			w.Contended += end - from
			words[at] = w
		}
	}
}

// samples reads the recorded stacks by address.
func (p *Probe) samples(r *Result) (map[futexAddress][]Sample, error) {
	var wanted uint32
	if err := p.objs.StacksWanted.Get(&wanted); err != nil {
		return nil, err
	}
	if most := p.objs.Stacks.MaxEntries(); wanted > most {
		r.NoStack = uint64(wanted - most)
	}
	stacks, err := stack.Read(p.stacks, int(wanted))
	if err != nil {
		return nil, err
	}
	out := map[futexAddress][]Sample{}
	for i, s := range stacks {
		var of futexSample
		if err := p.objs.Samples.Lookup(uint32(i), &of); err != nil {
			return nil, fmt.Errorf("reading what stack %d is of: %w", i, err)
		}
		out[of.At] = append(out[of.At], Sample{Stack: s, Holder: of.Holder != 0, For: time.Duration(of.Ns)})
	}
	for _, ss := range out {
		slices.SortStableFunc(ss, func(a, b Sample) int { return cmp.Compare(b.For, a.For) })
	}
	return out, nil
}
