package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	wakeEvery  = "0.033"
	recordFor  = 10 * time.Second // each turn
	nothings   = 32               // programs that do nothing, whose calls are measured together
)

// recorder measures what the flight recorder costs: its programs inside the kernel by
// the kernel's own account of their run time, less what that account reports of a
// program that does nothing; the calls of the programs, which it does not have; and the
// CPU time of this process, which does nothing but read.
func (b *bench) recorder(ctx context.Context, out io.Writer) (err error) {
	top := "/sys/fs/cgroup/cpu"
	if _, err := os.Stat(top); err != nil {
		top = "/sys/fs/cgroup"
	}
	calls, err := b.calls(ctx)
	if err != nil {
		return err
	}
	stop, err := wakers(ctx, filepath.Join(top, fmt.Sprintf("kmend-bench-%d", os.Getpid())))
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	r, end, err := record(ctx, top)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
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
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	var perRun, perSecond, programs, least, called, own, together []float64
	for round := range b.rounds {
		begin := time.Now()
		before, err := look(r, nothing)
		if err != nil {
			return err
		}
		if err := pause(ctx, recordFor); err != nil {
			return err
		}
		after, err := look(r, nothing)
		if err != nil {
			return err
		}
		seconds := time.Since(begin).Seconds()
		rate := float64(after.switches-before.switches) / seconds
		percent := func(d time.Duration) float64 { return 100 * d.Seconds() / seconds }
		runs := float64(max(1, after.runs-before.runs))
		work := percent(after.programs - before.programs - time.Duration(runs*float64(after.nothing-before.nothing)/float64(max(1, after.nothings-before.nothings))))
		call := 100 * runs * median(calls) / 1e9 / seconds
		at20000 := (work+call)*20_000/rate + percent(after.own-before.own)
		called = append(called, call)
		perRun = append(perRun, float64(after.programs-before.programs)/runs)
		perSecond = append(perSecond, rate)
		programs = append(programs, percent(after.programs-before.programs))
		least = append(least, percent(after.nothing-before.nothing))
		own = append(own, percent(after.own-before.own))
		together = append(together, at20000)
		b.say("recorder round %d of %d: %.0f ns a run, %.0f switches a second, %.2f%% at 20,000", round+1, b.rounds, perRun[round], rate, at20000)
	}
	row := func(what string, v []float64) {
		fmt.Fprintf(out, "| %s | %.2f | %.2f | %.2f |\n", what, median(v), slices.Min(v), slices.Max(v))
	}
	fmt.Fprintf(out, `
## What the flight recorder costs

%d cgroups whose processes wake every %s s: %.0f switches a second, %.0f ns a run of a program (medians of %d turns of %s). The
programs' time is the kernel's (kernel.bpf_stats_enabled: what a hypervisor steals and what interrupts take while a program runs is in
it, and the counting itself, which is what it says of a program that does nothing). It does not have the calls of the programs: %.0f ns each (%.0f to %.0f, %d turns of
%s on one CPU without and with %d programs that do nothing).

| %% of one CPU | median | lowest | highest |
|---|---|---|---|
`, containers, wakeEvery, median(perSecond), median(perRun), b.rounds, recordFor,
		median(calls), slices.Min(calls), slices.Max(calls), len(calls), "`perf bench sched pipe`", nothings)
	row("programs in the kernel", programs)
	row("of that the counting itself: what it says of a program that does nothing, beside them", least)
	row("calls of the programs", called)
	row("a process that reads once a second", own)
	row("**together without the counting, at 20,000 switches a second**", together)
	fmt.Fprintf(out, "\nGoal: under 0.5: %s.\n", goalIs(median(together) < 0.5))
	return nil
}

// record runs a recorder until end.
func record(ctx context.Context, top string) (r *recorder.Recorder, end func() error, err error) {
	o := recorder.DefaultOptions()
	o.Dir = top
	if r, err = recorder.New(o); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() error {
		cancel()
		return errors.Join(<-done, r.Close())
	}, nil
}

// calls measures what the kernel takes to call a program at a switch, in ns a call:
// so many switches on one CPU without and with many programs that do nothing, in turns.
func (b *bench) calls(ctx context.Context) (ns []float64, err error) {
	const operations = 50_000
	operation := func() (float64, error) { // ns of two switches, there and back
		cmd := exec.CommandContext(ctx, "taskset", "-c", "0", "perf", "bench", "-f", "simple", "sched", "pipe", "-l", strconv.Itoa(operations))
		cmd.Env = append(cmd.Environ(), "LC_ALL=C")
		text, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("perf bench: %w", err)
		}
		s, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		return s * 1e9 / operations, err
	}
	for turn := range 3 * b.rounds {
		without, err := operation()
		if err != nil {
			return nil, err
		}
		var all []*empty
		for range nothings {
			var e *empty
			if e, err = emptyProgram(); err != nil {
				break
			}
			all = append(all, e)
		}
		var with float64
		if err == nil {
			with, err = operation()
		}
		for _, e := range all {
			err = errors.Join(err, e.Close())
		}
		if err != nil {
			return nil, err
		}
		ns = append(ns, (with-without)/2/nothings)
		b.say("recorder: two switches %.0f ns, with %d programs that do nothing %.0f (turn %d of %d)", without, nothings, with, turn+1, 3*b.rounds)
	}
	return ns, nil
}

// recorderLook is what was counted since the programs were loaded.
type recorderLook struct {
	programs, nothing, own   time.Duration
	runs, nothings, switches uint64
}

func look(r *recorder.Recorder, nothing *empty) (l recorderLook, err error) {
	var u unix.Rusage
	var runs, counted, none error
	used := unix.Getrusage(unix.RUSAGE_SELF, &u)
	l.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	l.switches, runs = switches()
	l.programs, l.runs, counted = r.Cost()
	l.nothing, l.nothings, none = nothing.took()
	return l, errors.Join(used, runs, counted, none)
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

func (e *empty) took() (time.Duration, uint64, error) {
	s, err := e.prog.Stats()
	if err != nil {
		return 0, 0, fmt.Errorf("reading about a program that does nothing: %w", err)
	}
	return s.Runtime, s.RunCount, nil
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
