package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// group is what the cells held at the last read.
type group struct {
	serial uint64
	last   recorderCell
}

const (
	serialTaken = ^uint64(0)
	noQuota     = ^uint64(0)
	longWaits   = 1024 // of account.h
	maxVictims  = 64   // of recorder.bpf.c
	rootCell    = 1    // of cells.h
)

// Read fills s with what happened since the last read, or since Load.
func (r *Recorder) Read(s *Sample) error {
	s.Groups, s.Long, s.Victims = s.Groups[:0], s.Long[:0], s.Victims[:0]
	r.ticks++
	if err := r.vars.tick.Set(r.ticks); err != nil {
		return fmt.Errorf("counting the reads: %w", err)
	}
	if _, err := r.sample.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("reading the threads and the quotas of their groups: %w", err)
	}
	var highest, head, victims uint32
	var overflown uint64
	err := errors.Join(
		r.vars.highest.Get(&highest),
		r.vars.longHead.Get(&head),
		r.vars.victimCount.Get(&victims),
		r.vars.noCell.Get(&overflown),
		r.vars.kernelRequests.Get(&r.kernel[0].now),
		r.vars.kernelRequestNS.Get(&r.kernel[1].now),
	)
	n := min(int(highest)+1, len(r.raw))
	if err = errors.Join(err, readAt(r.cells, 0, r.raw[:n])); err != nil {
		return fmt.Errorf("reading the recorder's tables: %w", err)
	}
	s.Start = r.at
	if s.End, err = probe.Monotonic(); err != nil {
		return err
	}
	s.Overflown, r.overflown = overflown-r.overflown, overflown
	for i := range n {
		if d, ok := r.delta(uint32(i)); ok {
			s.Groups = append(s.Groups, d)
		}
	}
	r.at = s.End
	return errors.Join(r.readLong(s, head), r.readVictims(s, victims))
}

func readAt[T any](m *ebpf.Memory, first int, into []T) error {
	if len(into) == 0 {
		return nil
	}
	size := int(unsafe.Sizeof(into[0]))
	_, err := m.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&into[0])), size*len(into)), int64(first*size))
	return err
}

// delta is what a cell's group did since the last read; ok is false if nothing.
// What was counted too early is not taken back: the next reads give less until the
// cell has caught up.
func (r *Recorder) delta(i uint32) (d Delta, ok bool) {
	c, g := &r.raw[i], &r.groups[i]
	if c.Serial == serialTaken || c.Serial == 0 && i != 0 {
		return d, false
	}
	if c.Serial != g.serial {
		// It has changed hands, perhaps while it was read.
		if readAt(r.cells, int(i), r.raw[i:i+1]) != nil || c.Serial == serialTaken {
			return d, false
		}
		*g = group{serial: c.Serial}
		g.last.Periods, g.last.ThrottledPeriods, g.last.ThrottledNs = c.FirstPeriods, c.FirstThrottledPeriods, c.FirstThrottledNs
	}
	d = Delta{Cgroup: c.Cgroup}
	add := func(to *uint64, now uint64, last *uint64) {
		if now > *last {
			*to += now - *last
			*last = now
			ok = true
		}
	}
	l := &g.last
	for st := range d.NS {
		add(&d.NS[st], c.Ns[st], &l.Ns[st])
	}
	add(&d.Switches, c.Switches, &l.Switches)
	add(&d.Threads, c.Threads, &l.Threads)
	add32 := func(to *uint64, now uint32, last *uint32) {
		n := uint64(*last)
		add(to, uint64(now), &n)
		*last = uint32(n)
	}
	add32(&d.Reclaims, c.Reclaims, &l.Reclaims)
	add32(&d.OOMKills, c.Ooms, &l.Ooms)
	add(&d.Requests, c.Requests, &l.Requests)
	add(&d.RequestNS, c.RequestNs, &l.RequestNs)
	if i == rootCell {
		add(&d.KernelRequests, r.kernel[0].now, &r.kernel[0].last)
		add(&d.KernelRequestNS, r.kernel[1].now, &r.kernel[1].last)
	}
	add32(&d.Retransmits, c.Retransmits, &l.Retransmits)
	add(&d.StallNS, c.StallNs, &l.StallNs)
	d.NetNS = c.Netns
	add(&d.Periods, c.Periods, &l.Periods)
	add(&d.Limited, c.ThrottledPeriods, &l.ThrottledPeriods)
	add(&d.ThrottledNS, c.ThrottledNs, &l.ThrottledNs)
	if c.Quota != noQuota && c.Period > 0 {
		d.Quota, d.Period = float64(c.Quota)/float64(c.Period), time.Duration(c.Period)
	}
	return d, ok
}

// offset turns the scheduler's clock into CLOCK_MONOTONIC.
func (r *Recorder) offset() (ns int64, err error) {
	if err := r.vars.clockOffset.Get(&ns); err != nil {
		return 0, fmt.Errorf("reading the clock: %w", err)
	}
	return -ns, nil
}

func (r *Recorder) readLong(s *Sample, head uint32) error {
	offset, err := r.offset()
	if err != nil {
		return err
	}
	for ; r.longTail != head; r.longTail++ {
		var w [1]recorderLongWait
		if err := readAt(r.long, int(r.longTail%longWaits), w[:]); err != nil {
			return fmt.Errorf("reading long waits: %w", err)
		}
		if w[0].Ready != r.longTail+1 {
			break // it is being written
		}
		s.Long = append(s.Long, wait(w[0], offset))
	}
	return r.vars.longTail.Set(r.longTail)
}

func wait(w recorderLongWait, offset int64) Wait {
	return Wait{
		Cgroup: w.Cgroup, State: int(min(w.State, NumStates-1)),
		Begin: time.Duration(int64(w.Begin) + offset), End: time.Duration(int64(w.End) + offset),
	}
}

func (r *Recorder) readVictims(s *Sample, count uint32) error {
	if count-r.victimsRead > maxVictims {
		r.victimsRead = count - maxVictims
	}
	for ; r.victimsRead != count; r.victimsRead++ {
		var v [1]recorderVictim
		if err := readAt(r.victims, int(r.victimsRead%maxVictims), v[:]); err != nil {
			return fmt.Errorf("reading OOM victims: %w", err)
		}
		if v[0].Ready != r.victimsRead+1 {
			break
		}
		comm := unsafe.Slice((*byte)(unsafe.Pointer(&v[0].Comm[0])), len(v[0].Comm))
		name, _, _ := bytes.Cut(comm, []byte{0})
		s.Victims = append(s.Victims, Victim{Cgroup: v[0].Cgroup, PID: int(v[0].Pid), Comm: string(name), At: time.Duration(v[0].At)})
	}
	return nil
}

// Open lists the recorded waits that last: they are in no bucket before they end.
func (r *Recorder) Open() ([]Wait, error) {
	offset, err := r.offset()
	if err != nil {
		return nil, err
	}
	b, err := probe.Iterate(r.all.Programs[recorderProgOpenWaits])
	if err != nil {
		return nil, fmt.Errorf("finding waits that last: %w", err)
	}
	const size = int(unsafe.Sizeof(recorderLongWait{}))
	waits := make([]Wait, 0, len(b)/size)
	for ; len(b) >= size; b = b[size:] {
		waits = append(waits, wait(*(*recorderLongWait)(unsafe.Pointer(&b[0])), offset))
	}
	return waits, nil
}
