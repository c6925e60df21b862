package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/kmend/kmend/bpf/probe"
)

var tracepoints = []string{
	"mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end",
	"mm_vmscan_memcg_reclaim_begin", "mm_vmscan_memcg_reclaim_end", "mark_victim",
}

// Supported is nil or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("memory", tracepoints...) }

// Probe is the loaded program, detached outside of a window. It measures one
// window at a time and is not safe for concurrent use.
type Probe struct{ objs memoryObjects }

// Load verifies and loads the programs; nothing is attached yet. The probe
// measures whom members holds. The error may be a *probe.UnsupportedError. Its
// tables are for 4096 threads that reclaim at once and take 0.5 MB.
func Load(members *probe.Members) (*Probe, error) {
	spec, err := loadMemory()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	isPID, err := victimIsPID(members.Kernel())
	if err != nil {
		return nil, fmt.Errorf("finding the tracepoint mark_victim: %w", err)
	}
	if isPID {
		if err := spec.Variables[memoryVarVictimIsPid].Set(uint32(1)); err != nil {
			return nil, err
		}
	}
	p := &Probe{}
	if err := members.Load(spec, &p.objs, "memory"); err != nil {
		return nil, err
	}
	return p, nil
}

// victimIsPID looks at the tracepoint's first argument, after the one that every
// tracepoint has.
func victimIsPID(kernel *btf.Spec) (bool, error) {
	var t *btf.Typedef
	if err := kernel.TypeByName("btf_trace_mark_victim", &t); err != nil {
		return false, err
	}
	ptr, ok := t.Type.(*btf.Pointer)
	if !ok {
		return false, errors.New("it is not a function")
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) < 2 {
		return false, errors.New("it has no argument")
	}
	_, isTask := btf.UnderlyingType(proto.Params[1].Type).(*btf.Pointer)
	return !isTask, nil
}

// Close unloads everything.
func (p *Probe) Close() error { return p.objs.Close() }

// Measure attaches, waits for the window, reads and detaches. When ctx ends
// before that it detaches and returns at once what it has seen and the cause: a
// target that was killed is gone, and Kills says why.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	if window <= 0 {
		return Result{}, fmt.Errorf("window is %v, it must be more than 0", window)
	}
	r, err := p.measure(ctx, window)
	if err != nil {
		return r, fmt.Errorf("measuring memory reclaim: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, window time.Duration) (r Result, err error) {
	if err := p.reset(); err != nil {
		return r, err
	}
	links, err := probe.Attach(p.objs.OnDirectEnd, p.objs.OnMemcgEnd, p.objs.OnDirectBegin, p.objs.OnMemcgBegin, p.objs.OnMarkVictim)
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
	if err := p.zero(); err != nil { // of before the window
		return r, err
	}
	start, err := probe.Monotonic()
	if err != nil {
		return r, err
	}
	end := start + window
	if err := p.objs.WindowEnd.Set(uint64(end)); err != nil {
		return r, err
	}
	ended := probe.WaitUntil(ctx, end)
	if ended != nil {
		now, err := probe.Monotonic()
		if err != nil {
			return r, err
		}
		end = min(end, now)
	}
	r.Window = end - start
	return r, errors.Join(p.read(&r, start, end), ended)
}

func (p *Probe) reset() error {
	return errors.Join(
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.KillCount.Set(uint32(0)),
		p.objs.Lost.Set(uint64(0)),
		probe.ClearMap[uint32](p.objs.Reclaiming),
		p.zero(),
	)
}

func (p *Probe) zero() (err error) {
	for kind := range uint32(2) {
		err = errors.Join(err, p.objs.Reclaimed.Put(kind, memoryTotals{}))
	}
	return err
}

func (p *Probe) read(r *Result, start, end time.Duration) error {
	for kind, to := range []*Reclaim{&r.Direct, &r.Memcg} {
		var t memoryTotals
		if err := p.objs.Reclaimed.Lookup(uint32(kind), &t); err != nil {
			return fmt.Errorf("reading the totals: %w", err)
		}
		*to = Reclaim{t.Count, time.Duration(t.Ns), t.Pages, time.Duration(t.Longest)}
	}
	var tid uint32
	var u memoryUnderWay
	it := p.objs.Reclaiming.Iterate()
	for it.Next(&tid, &u) {
		took := end - time.Duration(u.Since)
		if took <= 0 {
			continue
		}
		to := &r.Direct
		if u.Kind == 1 {
			to = &r.Memcg
		}
		to.Count++
		to.Time += took
		to.Longest = max(to.Longest, took)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("reading what is under way: %w", err)
	}
	if err := p.readKills(r, start); err != nil {
		return err
	}
	return p.objs.Lost.Get(&r.Lost)
}

func (p *Probe) readKills(r *Result, start time.Duration) error {
	var n uint32
	if err := p.objs.KillCount.Get(&n); err != nil {
		return err
	}
	size := uint64(os.Getpagesize())
	for i := range min(n, p.objs.Kills.MaxEntries()) {
		var k memoryKill
		if err := p.objs.Kills.Lookup(i, &k); err != nil {
			return fmt.Errorf("reading the kills: %w", err)
		}
		if time.Duration(k.At) < start { // attached, and the window not yet open
			continue
		}
		r.Kills = append(r.Kills, Kill{
			After: time.Duration(k.At) - start, PID: int(k.Pid), Comm: probe.Comm(k.Comm), Target: k.Target != 0,
			CgroupID: k.Cgroup, Usage: k.Usage * size, Limit: k.Limit * size, Size: k.Size * size,
		})
	}
	return nil
}
