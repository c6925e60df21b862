package jvm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/usdt"
)

// Options sets the sizes of the probe's tables.
type Options struct {
	MaxJVMs int // virtual machines of one target; more are lost, and counted
}

// DefaultOptions are for 256 virtual machines.
func DefaultOptions() Options { return Options{MaxJVMs: 256} }

func (o Options) validate() error {
	if o.MaxJVMs < 1 || o.MaxJVMs > 1<<16 {
		return fmt.Errorf("jvm.Options.MaxJVMs is %d, allowed are 1 to %d", o.MaxJVMs, 1<<16)
	}
	return nil
}

// Supported reports whether the probe can run here: nil, or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("jvm", "sched_switch") }

// Probe is the loaded program, attached to nothing outside of a window.
type Probe struct {
	o        Options
	objs     jvmObjects
	attacher *usdt.Attacher
}

// Load loads the programs. The error may be a *probe.UnsupportedError.
func Load(o Options, m *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadJvm()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[jvmMapJvms].MaxEntries = uint32(o.MaxJVMs)
	prog := spec.Programs[jvmProgOnPoint]
	usdt.Prepare(prog)
	p := &Probe{o: o}
	if err := m.Load(spec, &p.objs, "jvm"); err != nil {
		return nil, err
	}
	p.attacher = usdt.NewAttacher(prog, p.objs.OnPoint, p.objs.UsdtSpecs)
	return p, nil
}

// Close unloads the programs.
func (p *Probe) Close() error { return p.objs.Close() }

// points in the order of enum point in jvm.bpf.c.
func points() []usdt.Point {
	return []usdt.Point{
		{Provider: "hotspot", Name: "gc__begin", Arguments: 1},
		{Provider: "hotspot", Name: "gc__end"},
		{Provider: "hs_private", Name: "safepoint__begin"},
		{Provider: "hs_private", Name: "safepoint__end"},
		{Provider: "hotspot", Name: "mem__pool__gc__begin", Arguments: 8},
		{Provider: "hotspot", Name: "mem__pool__gc__end", Arguments: 8},
	}
}

// Measure attaches, waits for the window, reads and detaches. pids are the
// target's processes, proc is where they are seen. Where none of them is a
// virtual machine it returns a Result without any at once.
func (p *Probe) Measure(ctx context.Context, proc string, pids []int, window time.Duration) (Result, error) {
	s, err := find(proc, pids, p.o.MaxJVMs)
	defer s.close()
	var r Result
	if err == nil && len(s.machines) > 0 {
		r, err = p.measure(ctx, s, window)
	}
	if err != nil {
		return Result{}, fmt.Errorf("measuring Java virtual machines: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, s *scene, window time.Duration) (r Result, err error) {
	if err := p.reset(s); err != nil {
		return r, err
	}
	defer func() {
		if cerr := p.attacher.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	for _, o := range s.objects {
		if o.unprobed == nil {
			o.unprobed = p.attacher.Attach(o.file, o.usdt, points()...)
		}
	}
	links, err := probe.Attach(p.objs.OnSwitch)
	defer func() {
		if cerr := links.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	if err != nil {
		return r, err
	}
	if err := probe.Ready(ctx); err != nil {
		return r, err
	}
	start, err := probe.Monotonic()
	if err != nil {
		return r, err
	}
	r.Start, r.Window = time.Now(), window
	end := start + window
	if err := errors.Join(p.objs.WindowEnd.Set(uint64(end)), p.objs.WindowStart.Set(uint64(start))); err != nil {
		return r, err
	}
	for _, m := range s.machines {
		m.before, m.unread = m.counters()
	}
	if err := probe.WaitUntil(ctx, end); err != nil {
		return r, err
	}
	for _, m := range s.machines {
		j, err := p.read(s, m, uint64(start), uint64(end))
		if err != nil {
			return r, err
		}
		r.JVMs = append(r.JVMs, j)
	}
	err = p.objs.Lost.Get(&r.Lost)
	r.Lost += uint64(s.missed)
	return r, err
}

// reset empties what the last window left, and tells the kernel whom to measure.
func (p *Probe) reset(s *scene) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	err = errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.Lost.Set(uint64(0)),
		probe.ClearMap[uint32](p.objs.Jvms),
		probe.ClearMap[uint32](p.objs.Running),
		p.objs.Slots.Put(uint32(0), make([]jvmSlot, cpus)),
	)
	for _, m := range s.machines {
		if err == nil {
			err = p.objs.Jvms.Put(uint32(m.pid), jvmJvm{})
		}
	}
	return err
}

// read puts the witnesses of one virtual machine together. Both times are
// CLOCK_MONOTONIC, ns.
func (p *Probe) read(s *scene, m *machine, start, end uint64) (j JVM, err error) {
	var k jvmJvm
	if err := p.objs.Jvms.Lookup(uint32(m.pid), &k); err != nil {
		return j, fmt.Errorf("reading process %d: %w", m.pid, err)
	}
	j = JVM{PID: m.pid, Collector: m.collector(s.proc)}
	if err := s.objects[m.library].unprobed; err != nil {
		j.Unprobed = err.Error()
	} else {
		j.Pauses, j.Safepoints = pauses(k.Pauses), pauses(k.Others)
		if k.Safepoint != 0 { // open at the end
			open := &j.Safepoints
			if k.Collections > 0 || k.InSafepoint > 0 {
				open = &j.Pauses
			}
			open.add(end - min(end, max(start, k.Safepoint)))
		}
		j.Full, j.HeapBefore, j.HeapAfter = int(k.Full), k.HeapBefore, k.HeapAfter
	}
	if m.unread == nil {
		var now counters
		if now, m.unread = m.counters(); m.unread == nil {
			j.Counted, j.Collecting, m.unread = now.since(m.before)
		}
	}
	if m.unread != nil {
		j.Unread = m.unread.Error()
	}
	j.Stalls = pauses(k.Stalls)
	if until := k.Rested; k.Stall != 0 && uint32(k.Running) == 0 {
		if k.Running>>32 > 0 {
			until = end
		}
		if until > k.Stall+uint64(time.Millisecond) {
			j.Stalls.add(until - k.Stall)
		}
	}
	j.AppNS, j.CollectorNS, j.StalledNS, j.OtherNS = k.AppNs, k.CollectorNs, k.StalledNs, k.OtherNs
	return j, nil
}

func pauses(t jvmTotal) Pauses { return Pauses{int(t.Count), t.Ns, t.Longest} }

func (p *Pauses) add(ns uint64) {
	p.Count++
	p.NS += ns
	p.Longest = max(p.Longest, ns)
}
