package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"golang.org/x/sys/unix"
)

// window is one measurement under way.
type window struct {
	node    *cgroups.Node
	proc    string
	scope   scope
	request Request
	probe   prober
	meter   *meter
	// patience is Options.Patience.
	patience time.Duration
}

// seen is what a window gave, still in the kernel's terms.
type seen struct {
	window  window
	start   time.Time
	result  threads.Result
	parts   []outcome       // of the instruments
	aborted error           // why the window was ended
	before  []cgroups.Quota // nil if unread
	after   []cgroups.Quota
	cgroup  error             // why the cgroup probe could not read
	names   map[uint64]string // cgroup paths by id
	allowed int               // CPUs that the busiest threads may run on; 0: not known

	recorded bool // by the flight recorder, which has sums of groups
}

// errAborted is the cause of a window that the agent itself ended.
type errAborted struct{ reason, over string }

// What a window may be over the budget of: errAborted's over.
const (
	overCPU    = "cpu"
	overMemory = "memory"
)

func (e *errAborted) Error() string { return e.reason }

// run opens the window and reads what it gave. An error is about the probe or
// the caller's context; a target that goes away or a budget that is used up is
// in seen.
func (w window) run(ctx context.Context) (seen, error) {
	s := seen{window: w, start: time.Now(), names: w.node.Names()}
	groups, err := w.node.Groups(w.scope.what.Cgroups, w.scope.what.PIDs)
	if err == nil {
		s.before, err = w.node.Quotas(groups)
	}
	s.cgroup = err

	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); w.watch(ctx, cancel) }()
	s.result, s.parts, err = w.probe.Measure(ctx, w.subject(), w.request.Window, w.meter)
	cancel(nil)
	<-watched

	if aborted, ok := errors.AsType[*errAborted](context.Cause(ctx)); ok {
		s.aborted = aborted
		s.result.Window = time.Since(s.start)
		return s, nil
	}
	if err != nil {
		if why := w.gone(); why != "" { // it went between two looks of the watch
			s.aborted, s.result.Window = &errAborted{reason: why}, time.Since(s.start)
			return s, nil
		}
		return seen{}, err
	}
	if why := w.gone(); why != "" { // after the watch's last look
		s.aborted = &errAborted{reason: why}
		return s, nil
	}
	if s.cgroup == nil {
		s.after, s.cgroup = w.node.Quotas(groups)
	}
	for _, h := range s.result.Holders {
		if s.names[h.CgroupID] == "" { // made during the window
			for id, path := range w.node.Names() {
				s.names[id] = path
			}
			break
		}
	}
	s.allowed = allowed(s.result.Threads, s.result.CPUs)
	return s, nil
}

func (w window) subject() subject {
	return subject{node: w.node, target: w.scope.what, proc: w.proc, meter: w.meter, patience: w.patience, pids: func() []int {
		return w.node.Processes(w.scope.what.Cgroups, w.scope.what.PIDs)
	}}
}

// watchEvery is how often the agent looks at itself and at the target.
const watchEvery = 50 * time.Millisecond

// watch ends the window when the agent uses more than its budget or the target
// is gone: whatever was measured then is about nothing.
func (w window) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if used := w.meter.cpu(); used > w.request.Budget.CPU {
			cancel(&errAborted{fmt.Sprintf("over its budget: %d ms of CPU time used, %d ms allowed",
				used.Milliseconds(), w.request.Budget.CPU.Milliseconds()), overCPU})
			return
		}
		if used := w.meter.memory(); used > w.request.Budget.Memory {
			cancel(&errAborted{fmt.Sprintf("over its budget: %d MiB of memory used, %d MiB allowed", used>>20, w.request.Budget.Memory>>20), overMemory})
			return
		}
		if why := w.gone(); why != "" {
			cancel(&errAborted{reason: why})
			return
		}
	}
}

func (w window) gone() string {
	for _, dir := range w.scope.what.Cgroups {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return fmt.Sprintf("the target is gone: cgroup %s was removed during the window", dir)
		}
	}
	for _, pid := range w.scope.what.PIDs {
		if err := w.node.Process(pid); errors.Is(err, cgroups.ErrNotFound) {
			return fmt.Sprintf("the target is gone: process %d ended during the window", pid)
		}
		if born, err := w.node.Born(pid); err == nil && born != w.scope.born {
			return fmt.Sprintf("the target is gone: process %d ended during the window, and its number is another's now", pid)
		}
	}
	return ""
}

// allowed counts the CPUs that the threads may run on, all of them together. It
// looks at the busiest only; a thread that has ended has no affinity any more.
func allowed(busiest []threads.Thread, cpus int) int {
	var union unix.CPUSet
	for _, t := range mostActive(busiest, topThreads) {
		var set unix.CPUSet
		if t.Ended || unix.SchedGetaffinity(t.TID, &set) != nil {
			continue
		}
		for i := range union {
			union[i] |= set[i]
		}
	}
	return min(union.Count(), cpus)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
