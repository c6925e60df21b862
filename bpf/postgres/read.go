package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// open reads the waits that are open now, by pid.
func (p *Probe) open() (map[uint32]postgresOpenWait, error) {
	open := map[uint32]postgresOpenWait{}
	var pid uint32
	var w postgresOpenWait
	it := p.objs.OpenWaits.Iterate()
	for it.Next(&pid, &w) {
		open[pid] = w
	}
	// Entries that are deleted meanwhile can end the walk early; the next sample sees the rest.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("reading open waits: %w", err)
	}
	return open, nil
}

// finish records an open wait as ended at a time.
func (p *Probe) finish(pid uint32, o postgresOpenWait, at, start time.Duration) error {
	err := p.objs.OpenWaits.Delete(pid)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil // it ended now
	}
	if err != nil {
		return fmt.Errorf("closing a wait: %w", err)
	}
	key := postgresWaitKey{Pid: pid, Type: uint16(o.Tag.Type), Mode: uint16(o.Mode)}
	var w postgresWait
	if err := p.objs.Waits.Lookup(key, &w); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("closing a wait: %w", err)
	}
	ns := uint64(max(0, at-max(start, time.Duration(o.Since))))
	w.Count++
	w.Ns += ns
	if ns >= w.Longest {
		w.Longest, w.Tag = ns, o.Tag
	}
	if time.Duration(o.Since) < start {
		w.Before++
	}
	if err := p.objs.Waits.Put(key, w); err != nil {
		return fmt.Errorf("closing a wait: %w", err)
	}
	return nil
}

// read puts what the kernel and the memory have together.
func (p *Probe) read(r *Result, w *watch) error {
	r.Servers, r.Backends, r.Samples = len(w.scene.servers), len(w.scene.backends), w.samples
	if w.scene.unread != nil {
		r.Unread = w.scene.unread.Error()
	}
	if err := p.objs.Lost.Get(&r.Lost); err != nil {
		return err
	}
	waits := map[postgresWaitKey]*Wait{}
	at := func(key postgresWaitKey, tag postgresTag) *Wait {
		if waits[key] == nil {
			waits[key] = &Wait{PID: int(key.Pid), Lock: newLock(tag, uint8(key.Mode))}
		}
		return waits[key]
	}
	var key postgresWaitKey
	var sum postgresWait
	it := p.objs.Waits.Iterate()
	for it.Next(&key, &sum) {
		wait := at(key, sum.Tag)
		wait.Count, wait.NS, wait.Longest, wait.RanNS = int(sum.Count), sum.Ns, sum.Longest, sum.Ran
		wait.Before = sum.Before > 0
		if seen := w.seen[wait.PID]; seen != nil && sum.Before > 0 {
			seen.before = false // it ended, and the tracepoint told
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading waits: %w", err)
	}
	open, err := p.open()
	if err != nil {
		return err
	}
	for pid, o := range open {
		since := max(w.start, time.Duration(o.Since))
		if since >= w.end {
			continue
		}
		wait := at(postgresWaitKey{Pid: pid, Type: uint16(o.Tag.Type), Mode: uint16(o.Mode)}, o.Tag)
		wait.add(w.end-since, since == w.start)
		wait.Lock = newLock(o.Tag, uint8(o.Mode))
		if now := cpuTime(w.scene.proc, int(pid)); now > o.Ran {
			wait.RanNS += now - o.Ran
		}
	}
	for pid, seen := range w.seen {
		sampled := time.Duration(uint64(w.end-w.start) * uint64(seen.times) / uint64(max(1, w.samples)))
		if seen.before || r.Unprobed != "" {
			wait := at(postgresWaitKey{Pid: uint32(pid), Type: uint16(seen.wait.tag.Type), Mode: uint16(seen.wait.mode)}, seen.wait.tag)
			waited := min(w.end, seen.until) - w.start
			if r.Unprobed != "" {
				waited = sampled
			}
			wait.add(waited, seen.before)
			wait.Open = seen.last == w.samples
			if now := cpuTime(w.scene.proc, pid); now > seen.ran && seen.ran > 0 {
				wait.RanNS += now - seen.ran
			}
		}
		for _, wait := range waits {
			if wait.PID != pid {
				continue
			}
			wait.SampledNS = uint64(sampled)
			if wait.Lock.Type == seen.wait.tag.Type && wait.Lock.Mode == seen.wait.mode {
				wait.Holder, wait.Root = seen.holder, w.root(seen.holder)
			}
		}
	}
	for _, wait := range waits {
		r.Waits = append(r.Waits, *wait)
	}
	slices.SortFunc(r.Waits, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(b.NS, a.NS), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Lock.Type, b.Lock.Type), cmp.Compare(a.Lock.Mode, b.Lock.Mode))
	})
	return nil
}

// add adds one wait.
func (w *Wait) add(d time.Duration, before bool) {
	w.Count++
	w.NS += uint64(d)
	w.Longest = max(w.Longest, uint64(d))
	w.Before = w.Before || before
	w.Open = true
}
