package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/locks"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/stack"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
)

const (
	topLocks = 5
	// namedPlaces is how many of the places that waited longest get names.
	namedPlaces = 200
	// stackFrames of a stack are shown.
	stackFrames = 16
)

// kernelLocks is the instrument of lock.kernel. What its evidence means is in
// diagnose/cause/locks.go.
type kernelLocks struct {
	probe   *locks.Probe
	symbols *symbols.Symbolizer
	kernel  *symbols.KernelSymbols
}

func loadLocks(m *probe.Members, kernel *symbols.KernelSymbols) (measurer, error) {
	p, err := locks.Load(locks.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	s, err := newSymbolizer(kernel)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &kernelLocks{p, s, kernel}, nil
}

func (k *kernelLocks) Close() error { return errors.Join(k.probe.Close(), k.symbols.Close()) }

func (k *kernelLocks) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	var names sync.WaitGroup
	names.Go(func() { k.readNames(ctx, s) })
	r, err := k.probe.Measure(ctx, window)
	names.Wait()
	if err != nil {
		return reading{}, err
	}
	var stacks []stack.Stack
	var addrs []uint64
	for _, w := range r.Waits[:min(namedPlaces, len(r.Waits))] {
		stacks = append(stacks, stack.Stack{Kernel: w.Stack})
		if w.Address != 0 && !slices.Contains(addrs, w.Address) {
			addrs = append(addrs, w.Address)
		}
	}
	named := k.symbols.Resolve(ctx, stacks).Stacks
	vars := k.kernel.Variables(addrs)
	classes := lockClasses(r.Waits, func(i int) ([]symbols.Frame, string) {
		if i >= len(named) {
			return nil, ""
		}
		return named[i].Kernel, vars[r.Waits[i].Address]
	})
	return reading{evidence: lockEvidence(classes), lost: r.Lost}, nil
}

// readNames reads the kernel's symbols while the window runs, where they are not known
// yet: nobody then waits for them before it or after it.
func (k *kernelLocks) readNames(ctx context.Context, s subject) {
	leave, err := s.account()
	if err != nil {
		return // who needs a name reads them
	}
	defer leave()
	if probe.Opened(ctx) == nil {
		_ = k.kernel.Read() // who needs a name says why there is none
	}
}

// lockSum is a class of locks as people know them.
type lockSum struct {
	name        string
	count       uint64
	spin, sleep time.Duration
	longest     time.Duration
	stack       []string // of the place that waited longest
	top         time.Duration
	holders     map[string]time.Duration // by "comm (pid)"
}

func (l lockSum) wait() time.Duration { return l.spin + l.sleep }

// lockClasses sums waits by class, longest first. Waits without a known place are
// one class.
func lockClasses(waits []locks.Wait, of func(int) (frames []symbols.Frame, variable string)) []lockSum {
	sums := map[string]*lockSum{}
	for i, w := range waits {
		frames, variable := of(i)
		name := lockClass(w, frames, variable)
		s := sums[name]
		if s == nil {
			s = &lockSum{name: name, holders: map[string]time.Duration{}}
			sums[name] = s
		}
		s.count += w.Count
		s.spin += w.Spin
		s.sleep += w.Sleep
		s.longest = max(s.longest, w.Longest)
		if wait := w.Spin + w.Sleep; s.stack == nil || wait > s.top {
			s.stack, s.top = symbols.Stack{Kernel: frames}.Strings(stackFrames), wait
		}
		for _, h := range w.Holders {
			s.holders[fmt.Sprintf("%s (%d)", printable(h.Comm), h.PID)] += h.Wait
		}
	}
	var out []lockSum
	for _, s := range sums {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b lockSum) int { return cmp.Or(cmp.Compare(b.wait(), a.wait()), cmp.Compare(a.name, b.name)) })
	return out
}

// holder is who was waited for longest.
func (l lockSum) holder() (who string, wait time.Duration) {
	for w, d := range l.holders {
		if d > wait || d == wait && w < who {
			who, wait = w, d
		}
	}
	return who, wait
}

// seldom waits are not contention.
const seldom = 20

// contendedSpin is the spinning for a lock that many want. One wait that outweighs
// all others is for a holder whose virtual CPU the hypervisor took: 243 ms of 247 in
// 84 waits for a run queue, here.
func (l lockSum) contendedSpin() time.Duration {
	switch {
	case l.count < seldom:
		return 0
	case 2*l.longest > l.spin:
		return max(0, l.spin-l.longest)
	}
	return l.spin
}

func lockEvidence(classes []lockSum) []incident.Evidence {
	var spin, sleep time.Duration
	for _, c := range classes {
		sleep += c.sleep
		spin += c.contendedSpin()
	}
	out := []incident.Evidence{
		{Metric: "sleep", Value: thousandths(sleep), Unit: "ms"},
		{Metric: "spin", Value: thousandths(spin), Unit: "ms"},
	}
	for _, c := range classes[:min(topLocks, len(classes))] {
		if c.wait() < time.Millisecond {
			break
		}
		out = append(out,
			incident.Evidence{Metric: "lock_sleep", Subject: c.name, Value: thousandths(c.sleep), Unit: "ms", Stack: c.stack},
			incident.Evidence{Metric: "lock_spin", Subject: c.name, Value: thousandths(c.spin), Unit: "ms"},
			incident.Evidence{Metric: "lock_waits", Subject: c.name, Value: float64(c.count), Unit: "waits"},
			incident.Evidence{Metric: "lock_longest", Subject: c.name, Value: thousandths(c.longest), Unit: "ms"},
		)
		if who, wait := c.holder(); who != "" {
			out = append(out, incident.Evidence{Metric: "lock_holder", Subject: c.name + " held by " + who, Value: thousandths(wait), Unit: "ms"})
		}
	}
	return out
}

// thousandths is a duration in milliseconds, to the microsecond.
func thousandths(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }
