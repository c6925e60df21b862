// Package load makes known load, so that a test or a demo can compare what the
// probes say with what really happened: threads that burn, that come and go in
// bursts, that sleep, that wait in a futex, and threads and processes that are
// born and die all the time. It places itself in cgroups.
//
// It is a package so that a test binary can re-execute itself as the workload;
// test/workload is the program.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options says what load to make.
type Options struct {
	Mode     string        // one of Modes
	Threads  int           // locked OS threads, 1 to 1024
	On, Off  time.Duration // bursty: busy for On, asleep for Off; fsync, hog: asleep for Off after each
	Duration time.Duration // 0: until ctx ends
	Cgroups  []string      // directories to move into before any load is made
	CPUs     []int         // pin to these; empty: anywhere
	Dir      string        // io, fsync, mapped: on which file system
	MB       int           // hog, mapped: how much, all threads together
	Addr     string        // ask, answer: HOST:PORT to connect to, or to listen on
	Delay    time.Duration // answer: how long it takes; an hour is never
	Loss     float64       // ask, answer: the part of the segments that come in and are dropped, 0 to 1
}

// DefaultOptions burns one CPU until stopped.
func DefaultOptions() Options {
	return Options{Mode: "burn", Threads: 1, On: 10 * time.Millisecond, Off: 10 * time.Millisecond, Dir: os.TempDir(), MB: 64}
}

// Summary is what was done, printed as one line of JSON at the end.
type Summary struct {
	Mode      string  `json:"mode"`
	PID       int     `json:"pid"`
	Threads   int     `json:"threads"`
	ElapsedMS float64 `json:"elapsed_ms"`
	CPUMS     float64 `json:"cpu_ms"`              // user and system time of this process and its children, since it was in its cgroups
	Ops       int64   `json:"ops,omitempty"`       // fsync, hog, mapped: how often it was done,
	WaitedMS  float64 `json:"waited_ms,omitempty"` // and how long it took, summed over threads
	Born      int64   `json:"born,omitempty"`      // fork: threads and processes that came and went
}

func (o Options) validate() error {
	if _, ok := modes[o.Mode]; !ok {
		return fmt.Errorf("mode is %q, allowed are %v", o.Mode, Modes())
	}
	if o.Threads < 1 || o.Threads > 1024 {
		return fmt.Errorf("threads is %d, allowed are 1 to 1024", o.Threads)
	}
	if o.MB < 1 || o.MB > 1<<16 {
		return fmt.Errorf("mb is %d, allowed are 1 to %d", o.MB, 1<<16)
	}
	if o.Loss < 0 || o.Loss > 1 {
		return fmt.Errorf("loss is %v, allowed are 0 to 1", o.Loss)
	}
	if o.On <= 0 || o.Off <= 0 {
		return fmt.Errorf("on is %v and off is %v, both must be more than 0", o.On, o.Off)
	}
	return nil
}

// Run moves into the cgroups, starts the threads, prints "ready PID" once all of
// them run, and blocks until the duration or ctx is over. Then it prints the
// Summary.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := place(o); err != nil {
		return err
	}
	before := cpuMS()
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	w := &worker{Options: o, done: ctx.Done()}
	started := time.Now()
	var up, down sync.WaitGroup
	up.Add(o.Threads)
	for range o.Threads {
		down.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
			up.Done()
			modes[o.Mode](w)
		})
	}
	up.Wait()
	fmt.Fprintf(out, "ready %d\n", os.Getpid())
	if w.waits() {
		<-ctx.Done() // its threads block in the kernel and are not waited for
	} else {
		down.Wait()
	}
	return json.NewEncoder(out).Encode(Summary{
		Mode: o.Mode, PID: os.Getpid(), Threads: o.Threads, Born: w.born.Load(), Ops: w.ops.Load(), WaitedMS: float64(w.waited.Load()) / 1e6,
		ElapsedMS: float64(time.Since(started)) / 1e6, CPUMS: cpuMS() - before,
	})
}

// place moves this process, with all of its threads, into the cgroups.
func place(o Options) error {
	for _, dir := range o.Cgroups {
		path := filepath.Join(dir, "cgroup.procs")
		if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("moving into cgroup: %w", err)
		}
	}
	if len(o.CPUs) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range o.CPUs {
		set.Set(cpu)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads { // later ones inherit it
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("pinning to CPUs %v: %w", o.CPUs, err)
		}
	}
	return nil
}

func cpuMS() float64 {
	var total time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return float64(total) / 1e6
}
