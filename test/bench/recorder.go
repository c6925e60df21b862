package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"golang.org/x/sys/unix"
)

// The load that the flight recorder's cost is promised for: so many containers,
// each of which wakes often enough for 20,000 switches a second together.
const (
	containers = 500
	wakeEvery  = "0.05"
	recordFor  = 30 * time.Second
)

// recorder measures what the flight recorder costs: its programs inside the kernel
// by the kernel's own account of their run time, and the CPU time of this process,
// which does nothing but read.
func (b *bench) recorder(ctx context.Context, out io.Writer) (err error) {
	top := "/sys/fs/cgroup/cpu"
	if _, err := os.Stat(top); err != nil {
		top = "/sys/fs/cgroup"
	}
	stop, err := wakers(ctx, filepath.Join(top, fmt.Sprintf("kmend-bench-%d", os.Getpid())))
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	o := recorder.DefaultOptions()
	o.Dir = top
	r, err := recorder.New(o)
	if err != nil {
		return err
	}
	reading, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var readErr error
	wg.Go(func() { readErr = r.Run(reading) })
	defer func() {
		end()
		wg.Wait()
		err = errors.Join(err, readErr, r.Close())
	}()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switching bpf_stats on: %w", err)
	}
	defer stats.Close()
	nothing, err := emptyProgram()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nothing.Close()) }()
	b.say("recorder: %d cgroups wake every %s s, for %s", containers, wakeEvery, recordFor)
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	type look struct {
		at       time.Time
		kernel   time.Duration
		runs     uint64
		own      time.Duration
		switches uint64
	}
	now := func() (l look, err error) {
		l.at = time.Now()
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return l, err
		}
		l.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		if l.switches, err = switches(); err != nil {
			return l, err
		}
		l.kernel, l.runs, err = r.Cost()
		return l, err
	}
	a, err := now()
	if err != nil {
		return err
	}
	if err := pause(ctx, recordFor); err != nil {
		return err
	}
	z, err := now()
	if err != nil {
		return err
	}
	seconds := z.at.Sub(a.at).Seconds()
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / seconds }
	perRun := float64(z.kernel-a.kernel) / float64(max(1, z.runs-a.runs))
	perSecond := float64(z.switches-a.switches) / seconds
	least, err := nothing.perRun()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
## What the flight recorder costs

%d cgroups whose processes wake every %s s, %.0f switches a second, %.0f s. The programs' time is the kernel's
(kernel.bpf_stats_enabled: what a hypervisor steals and what interrupts take while a program runs is in it, and the counting itself).

| | %% of one CPU | |
|---|---|---|
| programs in the kernel | %.2f | %.0f ns a run, %.0f runs a second |
| a program that does nothing, beside them | %.2f | %.0f ns a run: what this machine takes to run and to time any |
| reading once a second | %.2f | |
| **together** | **%.2f** | |
| at 20,000 switches a second | %.2f | |
`, containers, wakeEvery, perSecond, seconds, share(z.kernel-a.kernel), perRun, float64(z.runs-a.runs)/seconds,
		100*least*perSecond/1e9, least,
		share(z.own-a.own), share(z.kernel-a.kernel+z.own-a.own), share(z.kernel-a.kernel)*20_000/perSecond+share(z.own-a.own))
	return nil
}

// empty is a program on the recorder's tracepoint that does nothing.
type empty struct {
	prog *ebpf.Program
	link link.Link
}

func emptyProgram() (*empty, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nothing", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("loading a program that does nothing: %w", err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: prog})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attaching a program that does nothing: %w", err), prog.Close())
	}
	return &empty{prog, l}, nil
}

// perRun is nanoseconds.
func (e *empty) perRun() (float64, error) {
	s, err := e.prog.Stats()
	if err != nil {
		return 0, fmt.Errorf("reading about a program that does nothing: %w", err)
	}
	return float64(s.Runtime) / float64(max(1, s.RunCount)), nil
}

func (e *empty) Close() error { return errors.Join(e.link.Close(), e.prog.Close()) }

// wakers starts a process in each of many cgroups below top.
func wakers(ctx context.Context, top string) (stop func() error, err error) {
	var started []*exec.Cmd
	var dirs []string
	stop = func() error {
		for _, c := range started {
			_ = c.Process.Kill()
		}
		for _, c := range started {
			_ = c.Wait()
		}
		var errs []error
		for i := len(dirs) - 1; i >= 0; i-- {
			errs = append(errs, unix.Rmdir(dirs[i]))
		}
		return errors.Join(errs...)
	}
	if err := os.Mkdir(top, 0o755); err != nil {
		return stop, err
	}
	dirs = append(dirs, top)
	for _, dir := range []string{filepath.Dir(top), top} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil { // v2
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
				return stop, err
			}
		}
	}
	for i := range containers {
		dir := filepath.Join(top, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return stop, err
		}
		dirs = append(dirs, dir)
		c := exec.CommandContext(ctx, "perl", "-e", "select(undef, undef, undef, "+wakeEvery+") while 1")
		if err := c.Start(); err != nil {
			return stop, fmt.Errorf("starting a load: %w", err)
		}
		started = append(started, c)
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0o644); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// switches is how often the machine has switched between threads since it started.
func switches() (n uint64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if c, _ := fmt.Sscanf(line, "ctxt %d", &n); c == 1 {
			return n, nil
		}
	}
	return 0, errors.New("/proc/stat has no ctxt")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
