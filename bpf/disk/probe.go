package disk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	MaxPending int // I/Os that are under way at once; more are lost
	MaxShares  int // pairs of device and cgroup; more are lost
}

// DefaultOptions are sizes for some dozen disks and hundreds of cgroups: 16384
// I/Os, 1024 shares. The tables take 4.5 MB.
func DefaultOptions() Options { return Options{MaxPending: 16384, MaxShares: 1024} }

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxPending", o.MaxPending}, {"MaxShares", o.MaxShares}} {
		if f.value < 1 || f.value > 1<<20 {
			return fmt.Errorf("disk.Options.%s is %d, allowed are 1 to %d", f.name, f.value, 1<<20)
		}
	}
	return nil
}

var tracepoints = []string{
	"block_bio_queue", "block_split", "block_bio_complete", "block_rq_issue", "block_rq_requeue", "block_rq_complete",
}

// Supported is nil or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("disk", tracepoints...) }

// Probe is the loaded program, detached outside of a window. It measures one
// window at a time and is not safe for concurrent use.
type Probe struct{ objs diskObjects }

// Load verifies and loads the programs; nothing is attached yet. The probe
// measures whom members holds. The error may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadDisk()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[diskMapBios].MaxEntries = uint32(o.MaxPending)
	spec.Maps[diskMapRequests].MaxEntries = uint32(o.MaxPending)
	spec.Maps[diskMapShares].MaxEntries = uint32(o.MaxShares)
	p := &Probe{}
	if err := members.Load(spec, &p.objs, "disk"); err != nil {
		return nil, err
	}
	return p, nil
}

// Close unloads everything.
func (p *Probe) Close() error { return p.objs.Close() }

// Measure attaches, waits for the window, reads and detaches. When ctx ends it
// detaches and returns the cause at once. ioGroups are the inodes of cgroups of
// the io controller that are the target's, beside those that name it: on v1 what
// a throttled cgroup asks for is submitted by the kernel, and only its group
// tells whose it was.
func (p *Probe) Measure(ctx context.Context, ioGroups []uint64, window time.Duration) (Result, error) {
	if window <= 0 {
		return Result{}, fmt.Errorf("window is %v, it must be more than 0", window)
	}
	r, err := p.measure(ctx, ioGroups, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring disks: %w", err)
	}
	return r, nil
}

func (p *Probe) measure(ctx context.Context, ioGroups []uint64, window time.Duration) (r Result, err error) {
	if err := p.reset(ioGroups); err != nil {
		return r, err
	}
	// Ends before begins: what is seen to begin is seen to end.
	links, err := probe.Attach(p.objs.OnComplete, p.objs.OnBioComplete, p.objs.OnRequeue, p.objs.OnIssue, p.objs.OnSplit, p.objs.OnBioQueue)
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
	if err := probe.ClearMap[diskShare](p.objs.Shares); err != nil { // of before the window
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
	if err := probe.WaitUntil(ctx, end); err != nil {
		return r, err
	}
	r.Window = window
	return r, p.read(&r, end)
}

func (p *Probe) reset(ioGroups []uint64) error {
	err := errors.Join(
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.Skipped.Set(uint32(0)),
		p.objs.Lost.Set(uint64(0)),
		probe.ClearMap[uint64](p.objs.Bios),
		probe.ClearMap[uint64](p.objs.Requests),
		probe.ClearMap[diskShare](p.objs.Shares),
		probe.ClearMap[uint64](p.objs.IoGroups),
	)
	for _, id := range ioGroups {
		if err == nil {
			err = p.objs.IoGroups.Put(id, uint8(1))
		}
	}
	return err
}

func (p *Probe) read(r *Result, end time.Duration) error {
	var key diskShare
	var t diskTotals
	shares := p.objs.Shares.Iterate()
	for shares.Next(&key, &t) {
		r.Shares = append(r.Shares, share(key, t))
	}
	if err := shares.Err(); err != nil {
		return fmt.Errorf("reading the shares: %w", err)
	}
	for _, m := range []*ebpf.Map{p.objs.Bios, p.objs.Requests} {
		if err := r.addPending(m, end); err != nil {
			return err
		}
	}
	var skipped uint32
	if err := p.objs.Skipped.Get(&skipped); err != nil {
		return err
	}
	r.Skipped = uint64(skipped)
	return p.objs.Lost.Get(&r.Lost)
}

func share(key diskShare, t diskTotals) Share {
	s := Share{
		Device: device(key.Dev), Owner: Owner(key.Owner), CgroupID: key.Cgroup, Comm: probe.Comm(t.Comm),
		Reads: uint64(t.Ops[0]), Writes: uint64(t.Ops[1]), Flushes: uint64(t.Ops[2]), Others: uint64(t.Ops[3]),
		Bytes: t.Bytes, Longest: time.Duration(t.LongestNs),
		Queue: Times{Total: time.Duration(t.QueueNs)}, Service: Times{Total: time.Duration(t.ServiceNs)},
	}
	s.Queue.Slots, s.Service.Slots = t.Queue, t.Service
	return s
}

func device(dev uint32) Device { return Device{dev >> 20, dev & (1<<20 - 1)} }

// addPending adds what is under way. A bio that was merged into a request of
// another, longer than the probe walks, stays in its table; it is as old as its
// request, and no older than the window.
func (r *Result) addPending(m *ebpf.Map, end time.Duration) error {
	var key uint64
	var p diskPending
	it := m.Iterate()
	for it.Next(&key, &p) {
		age := end - time.Duration(p.Queued)
		if age <= 0 {
			continue
		}
		d, o := device(p.Dev), Owner(p.Owner)
		i := 0
		for i < len(r.Pending) && (r.Pending[i].Device != d || r.Pending[i].Owner != o) {
			i++
		}
		if i == len(r.Pending) {
			r.Pending = append(r.Pending, Pending{Device: d, Owner: o})
		}
		q := &r.Pending[i]
		q.Count++
		q.Oldest = max(q.Oldest, age)
		q.Total += age
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("reading what is under way: %w", err)
	}
	return nil
}
