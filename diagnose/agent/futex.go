package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/futex"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/stack"
	"github.com/kmend/kmend/diagnose/agent/hotspot"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
)

const (
	topFutexes = 4
	topWaiters = 3 // stacks of each
	topHoldups = 1
)

// userLocks is the instrument of lock.user. What its evidence means, and when an
// address is a lock, is in diagnose/cause/locks.go.
type userLocks struct {
	probe   *futex.Probe
	symbols *symbols.Symbolizer
}

func loadFutex(m *probe.Members, kernel *symbols.KernelSymbols) (measurer, error) {
	p, err := futex.Load(futex.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	s, err := newSymbolizer(kernel)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &userLocks{p, s}, nil
}

func (u *userLocks) Close() error { return errors.Join(u.probe.Close(), u.symbols.Close()) }

func (u *userLocks) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	looking, stop := context.WithCancel(ctx)
	defer stop()
	looked := make(chan hotspot.Result, 1)
	go func() { looked <- lookAtJava(looking, s) }()
	r, err := u.probe.Measure(ctx, window)
	stop()
	java := <-looked
	if err != nil {
		return reading{}, err
	}
	var out []incident.Evidence
	var all []stack.Stack
	picked := candidates(r.Addresses)
	for _, a := range picked {
		for _, sample := range a.Samples {
			all = append(all, sample.Stack)
		}
	}
	named := u.symbols.Resolve(ctx, all).Stacks
	for _, a := range picked {
		out = append(out, futexEvidence(a, named[:len(a.Samples)], who(s.proc, a.PID, a.Threads[0].Comm))...)
		named = named[len(a.Samples):]
	}
	out = append(out, javaEvidence(java, r.Addresses, s.proc, window)...)
	return reading{evidence: out, lost: r.Lost, idle: printable(java.Blind)}, nil
}

func lookAtJava(ctx context.Context, s subject) hotspot.Result {
	leave, err := s.account()
	if err != nil {
		return hotspot.Result{Blind: err.Error()}
	}
	defer leave()
	if probe.Opened(ctx) != nil { // it has ended, and the caller knows why
		return hotspot.Result{}
	}
	return hotspot.Watch(ctx, s.proc, s.living())
}

// candidates are the addresses that may be locks: where wakes come from threads
// that wait there too. What an idle pool or a parked thread waits for is not
// among them.
func candidates(all []futex.Address) []futex.Address {
	var out []futex.Address
	for _, a := range all {
		if n := a.ByWaiters(); n >= 2 && 3*n >= a.Wakes {
			out = append(out, a)
		}
	}
	return out[:min(topFutexes, len(out))] // they come longest wait first
}

// who is the program behind an address, for people.
func who(proc string, pid int, thread string) string {
	if pid == 0 {
		return "shared memory"
	}
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	name := strings.TrimSuffix(string(b), "\n")
	if err != nil || name == "" {
		name = thread // it has ended
	}
	return fmt.Sprintf("%s (%d)", printable(name), pid)
}

func futexEvidence(a futex.Address, named []symbols.Stack, who string) []incident.Evidence {
	subject := fmt.Sprintf("0x%x of %s", a.Address, who)
	var out []incident.Evidence
	add := func(metric string, value float64, unit string) {
		out = append(out, incident.Evidence{Metric: metric, Subject: subject, Value: value, Unit: unit})
	}
	var waiters, unwoken uint64
	var longest, longestHeld time.Duration
	for _, t := range a.Threads {
		if t.Waits > 0 {
			waiters++
		}
		unwoken += t.Unwoken
		longest, longestHeld = max(longest, t.Longest), max(longestHeld, t.LongestHeld)
	}
	add("lock_wait", thousandths(a.Wait()), "ms")
	add("lock_longest_wait", thousandths(longest), "ms")
	add("lock_contended", thousandths(a.Contended), "ms")
	add("lock_held", thousandths(a.Held()), "ms")
	add("lock_longest_held", thousandths(longestHeld), "ms")
	add("lock_waiters", float64(waiters), "threads")
	add("lock_waits", float64(a.Waits), "waits")
	add("lock_waits_same", float64(a.Same+a.PI), "waits")
	add("lock_waits_unwoken", float64(unwoken), "waits")
	add("lock_wakes", float64(a.Wakes), "wakes")
	add("lock_wakes_by_waiters", float64(a.ByWaiters()), "wakes")
	add("lock_wakes_of_many", float64(a.Many), "wakes")
	for _, s := range places(a.Samples, named, false) {
		out = append(out, incident.Evidence{Metric: "lock_waiter", Subject: subject, Value: thousandths(s.time), Unit: "ms", Stack: s.stack})
	}
	for _, s := range places(a.Samples, named, true) {
		out = append(out, incident.Evidence{Metric: "lock_holder", Subject: subject, Value: thousandths(s.time), Unit: "ms", Stack: s.stack})
	}
	return out
}

// place is one stack and the time of the samples that have it.
type place struct {
	stack []string
	time  time.Duration
}

// places are the stacks with the most time, of waiters or of holders. Threads that
// do the same count together, also where they began differently.
func places(samples []futex.Sample, named []symbols.Stack, holders bool) []place {
	const same = 6 // frames
	sums := map[string]*place{}
	for i, s := range samples {
		if s.Holder != holders {
			continue
		}
		frames := named[i].Strings(stackFrames)
		key := strings.Join(frames[:min(same, len(frames))], "\n")
		if sums[key] == nil {
			sums[key] = &place{stack: frames}
		}
		sums[key].time += s.For
	}
	var out []place
	for _, p := range sums {
		if len(p.stack) > 0 {
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.time, a.time), slices.Compare(a.stack, b.stack))
	})
	most := topWaiters
	if holders {
		most = topHoldups
	}
	return out[:min(most, len(out))]
}
