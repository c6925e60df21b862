// Package profile is the probe that samples where the target's threads run: a
// clock of 99 Hz on every CPU records the stack of the thread it meets.
//
// The node's agent (diagnose/agent) names the stacks; they make cpu.busy say which
// functions the CPU time went into. Nothing is attached outside of a window.
package profile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/stack"
	"golang.org/x/sys/unix"
)

// Hz is how often each CPU is looked at: not a divisor of what programs do a
// hundred times a second.
const Hz = 99

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	// MaxStacks are kept, 8.7 KB each; of more samples they are a fair choice.
	MaxStacks int
}

// DefaultOptions are 512 stacks: 4.5 MB, and a part of the samples is known to 2%.
func DefaultOptions() Options { return Options{MaxStacks: 512} }

func (o Options) validate() error {
	if o.MaxStacks < 16 || o.MaxStacks > maxSlots {
		return fmt.Errorf("profile.Options.MaxStacks is %d, allowed are 16 to %d", o.MaxStacks, maxSlots)
	}
	return nil
}

const maxSlots = 4096 // MAX_SLOTS of profile.bpf.c

// Result is one measured window.
type Result struct {
	Window time.Duration
	// Samples met a thread of the target; each stands for 1/Hz s of CPU time of one
	// thread. What a hypervisor steals is not sampled: its interrupts come late.
	Samples uint64
	// Stacks of a fair choice of the samples, all of them up to Options.MaxStacks.
	Stacks []stack.Stack
	Lost   uint64 // samples that could not be recorded
}

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs   profileObjects
	stacks *ebpf.Memory
}

// Supported is nil or a *probe.UnsupportedError. It opens a perf event and closes it.
func Supported() error {
	if err := probe.Supported("profile"); err != nil {
		return err
	}
	fd, err := openClock(-1, 0) // of this thread: CPU 0 may be offline
	if err != nil {
		return unopened(err)
	}
	return unix.Close(fd)
}

func openClock(cpu, pid int) (int, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER5,
		Sample: Hz, Bits: unix.PerfBitFreq | unix.PerfBitExcludeIdle,
	}
	return unix.PerfEventOpen(&attr, pid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// Load verifies and loads the program and its table; nothing is attached yet. The
// probe measures whom members holds. The error may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadProfile()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	spec.Maps[profileMapStacks].MaxEntries = uint32(o.MaxStacks)
	p := &Probe{}
	if err := members.Load(spec, &p.objs, "profile"); err != nil {
		return nil, err
	}
	err = p.objs.Slots.Set(uint32(o.MaxStacks))
	if err == nil {
		p.stacks, err = p.objs.Stacks.Memory()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing probe profile: %w", err), p.objs.Close())
	}
	return p, nil
}

// Close unloads everything.
func (p *Probe) Close() error { return p.objs.Close() }

// Measure samples for the window and detaches. When ctx ends it detaches and
// returns the cause at once. It is not safe for concurrent use.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (r Result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("sampling: %w", err)
		}
	}()
	if err := errors.Join(p.objs.Recording.Set(uint32(0)), p.objs.Samples.Set(uint64(0)), p.objs.Lost.Set(uint64(0))); err != nil {
		return r, err
	}
	clocks, err := p.attach()
	defer func() { err = errors.Join(err, clocks.Close()) }()
	if err != nil {
		return r, err
	}
	if err := p.record(ctx, window); err != nil {
		return r, err
	}
	if err := clocks.Close(); err != nil { // before the table is read
		return r, fmt.Errorf("detaching: %w", err)
	}
	r.Window = window
	if err := errors.Join(p.objs.Samples.Get(&r.Samples), p.objs.Lost.Get(&r.Lost)); err != nil {
		return r, err
	}
	r.Stacks, err = stack.Read(p.stacks, int(min(r.Samples, maxSlots)))
	return r, err
}

// record opens the window and waits for its end.
func (p *Probe) record(ctx context.Context, window time.Duration) error {
	if err := probe.Ready(ctx); err != nil {
		return err
	}
	now, err := probe.Monotonic()
	if err != nil {
		return err
	}
	if err := p.objs.Recording.Set(uint32(1)); err != nil {
		return err
	}
	return errors.Join(probe.WaitUntil(ctx, now+window), p.objs.Recording.Set(uint32(0)))
}

// clocks are the open perf events and the program's links to them.
type clocks struct {
	links probe.Links
	fds   []int
}

func (c *clocks) Close() error {
	err := c.links.Close()
	for _, fd := range c.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	c.links, c.fds = nil, nil
	return err
}

// attach starts a clock on every CPU. The clocks are to be closed also on an error.
func (p *Probe) attach() (*clocks, error) {
	c := &clocks{}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return c, err
	}
	for cpu := range cpus {
		fd, err := openClock(cpu, -1)
		if errors.Is(err, unix.ENODEV) { // not online
			continue
		}
		if err != nil {
			return c, fmt.Errorf("opening the clock of CPU %d: %w", cpu, unopened(err))
		}
		c.fds = append(c.fds, fd)
		l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p.objs.OnSample, Attach: ebpf.AttachPerfEvent})
		if err != nil {
			return c, fmt.Errorf("attaching to the clock of CPU %d: %w", cpu, err)
		}
		c.links = append(c.links, l)
	}
	if len(c.fds) == 0 {
		return c, errors.New("no CPU has a clock")
	}
	return c, nil
}

func unopened(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOSYS) {
		return &probe.UnsupportedError{
			Probe: "profile", What: "perf events", Reason: "perf_event_open: " + err.Error(),
			Do: "give the agent CAP_PERFMON, and allow perf_event_open in its seccomp profile",
		}
	}
	return err
}
