// Package throttled makes trouble with a known answer: a real multi-threaded
// workload in a cgroup of its own whose CPU quota is less than it needs, and the
// kernel's own counters to tell afterwards whether the trouble is gone. The
// acceptance tests, the demo and the benchmarks diagnose it.
//
// The workload is a closed loop of requests: each thread takes some CPU time,
// then waits, as a server between two requests. It wants a fixed amount of CPU,
// so that a quota above that ends the throttling.
package throttled

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmend/kmend/test/process"
)

// Options of a workload.
type Options struct {
	Name    string        // of the cgroup; "" names it for this process, see DefaultOptions
	Quota   float64       // CPUs; 0 is no quota
	Threads int           // that serve requests
	Work    time.Duration // CPU time of a request
	Pause   time.Duration // between two requests of a thread; 0 never rests
	First   bool          // before everything else on the machine: see Cgroup.First
}

// DefaultOptions is 4 threads that want 0.3 CPU between them and get 0.2: they are throttled in every
// period. Twice the quota is enough even when all their requests fall together.
// They come first, so that a busy machine does not change the answer.
func DefaultOptions() Options {
	return Options{Quota: 0.2, Threads: 4, Work: 2 * time.Millisecond, Pause: 25 * time.Millisecond, First: true}
}

// Busy threads never rest: no quota below their number of CPUs is enough.
func Busy(threads int, quota float64) Options {
	return Options{Quota: quota, Threads: threads, Work: 2 * time.Millisecond}
}

// Workload is a running one.
type Workload struct {
	*Cgroup
	proc  *process.Process
	stats *lastLine
}

// sequence makes the cgroups' names unique within this process.
type sequence struct{ n atomic.Int64 }

func (s *sequence) name() string { return fmt.Sprintf("kmend-test-%d-%d", os.Getpid(), s.n.Add(1)) }

var names sequence

// Start makes the cgroup, sets the quota, starts the workload in it and returns
// when all threads serve. The program that calls it must call RunIfAsked first.
func Start(ctx context.Context, o Options) (*Workload, error) {
	if o.Threads < 1 || o.Work <= 0 {
		return nil, fmt.Errorf("throttled: Options.Threads is %d and Work is %s; both must be positive", o.Threads, o.Work)
	}
	if o.Name == "" {
		o.Name = names.name()
	}
	cg, err := NewCgroup(o.Name)
	if err != nil {
		return nil, err
	}
	w := &Workload{Cgroup: cg, stats: &lastLine{}}
	if err := w.start(ctx, o); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Workload) start(ctx context.Context, o Options) error {
	if err := w.SetQuota(o.Quota); err != nil {
		return err
	}
	if o.First {
		if err := w.First(); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("starting the workload: %w", err)
	}
	spec := strings.Join([]string{w.Path, strconv.Itoa(o.Threads), o.Work.String(), o.Pause.String()}, "|")
	w.proc, err = process.Start(process.Spec{
		Name: "workload", Path: self, Stdout: w.stats,
		// Nothing but the requests takes CPU time: no collector, no preemption signals.
		Env: append(os.Environ(), envSpec+"="+spec, "GOGC=off", "GODEBUG=asyncpreemptoff=1"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("no request served after 10 s"))
	defer cancel()
	return w.proc.WaitFor(ctx, func(context.Context) error { _, err := w.Latency(); return err })
}

// PID of the workload's process.
func (w *Workload) PID() int { return w.proc.PID() }

// Close ends the workload and removes its cgroup.
func (w *Workload) Close() error {
	if w.proc != nil {
		if err := w.proc.Kill(); err != nil {
			return err
		}
	}
	return w.Cgroup.Close()
}
