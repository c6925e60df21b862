package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/profile"
	"github.com/kmend/kmend/bpf/stack"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
)

const (
	topHot     = 5
	stackDepth = 32 // frames that evidence shows
	// maxSampleLoss of the samples: below it what is left is still a fair choice.
	maxSampleLoss = 0.01
)

func loadProfiler(m *probe.Members, kernel *symbols.KernelSymbols) (measurer, error) {
	names, err := newSymbolizer(kernel)
	if err != nil {
		return nil, err
	}
	p, err := profile.Load(profile.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	return &profiler{probe: p, names: names}, nil
}

// profiler finds the functions in which the target's CPU time is spent.
type profiler struct {
	probe *profile.Probe
	names *symbols.Symbolizer
}

func (p *profiler) Close() error { return errors.Join(p.probe.Close(), p.names.Close()) }

func (p *profiler) Measure(ctx context.Context, _ subject, window time.Duration) (reading, error) {
	r, err := p.probe.Measure(ctx, window)
	if err != nil {
		return reading{}, err
	}
	inKernel := withoutRareKernel(r.Stacks)
	named := p.names.Resolve(ctx, r.Stacks)
	for _, i := range inKernel {
		named.Stacks[i].Kernel = []symbols.Frame{{Func: "[kernel]", Module: "kernel", Kind: symbols.Kernel}}
	}
	out := reading{evidence: append(
		[]incident.Evidence{
			{Metric: "samples", Value: float64(r.Samples), Unit: "samples"},
			{Metric: "rwsem_spin", Value: rwsemSpin(named.Stacks), Unit: "%"},
		},
		append(hotFunctions(named.Stacks), hotStacks(named.Stacks)...)...,
	)}
	if float64(r.Lost) > maxSampleLoss*float64(r.Samples) {
		out.lost = r.Lost
	}
	if len(named.Notes) > 0 {
		out.idle = strings.Join(named.Notes, "; ")
	}
	return out, nil
}

// rwsemSpin is the part of the samples, in percent, that spin for a semaphore of the
// kernel whose owner runs: its tracepoint only comes when the spinning is given up.
func rwsemSpin(all []symbols.Stack) float64 {
	n := 0
	for _, s := range all {
		for i, fr := range s.Kernel[:min(3, len(s.Kernel))] {
			if i == 0 && fr.Func != "osq_lock" && !strings.HasPrefix(fr.Func, "rwsem_") {
				break
			}
			if strings.HasPrefix(fr.Func, "rwsem_") && (strings.Contains(fr.Func, "spin") || strings.Contains(fr.Func, "_slowpath")) {
				n++
				break
			}
		}
	}
	return 100 * float64(n) / float64(max(1, len(all)))
}

// rareKernel of the samples or less in the kernel are not worth reading the names of
// 100,000 functions.
const rareKernel = 0.05

// withoutRareKernel drops the kernel's frames where they are rare, and gives the
// indexes of the stacks that had some.
func withoutRareKernel(all []stack.Stack) (in []int) {
	for i, s := range all {
		if len(s.Kernel) > 0 {
			in = append(in, i)
		}
	}
	if float64(len(in)) > rareKernel*float64(len(all)) {
		return nil
	}
	for _, i := range in {
		all[i].Kernel = nil
	}
	return in
}

// hotStacks are the stacks that were met most often, as a part of all samples.
func hotStacks(all []symbols.Stack) []incident.Evidence {
	return hottest("hot_stack", all, func(s symbols.Stack) (subject string, stack []string) {
		stack = s.Strings(stackDepth)
		if len(stack) == 0 {
			return "", nil
		}
		return stack[0], stack
	})
}

// hotFunctions are the functions that ran themselves, whoever called them. Functions
// of a file without names count together.
func hotFunctions(all []symbols.Stack) []incident.Evidence {
	return hottest("hot_function", all, func(s symbols.Stack) (string, []string) {
		frames := slices.Concat(s.Kernel, s.User)
		switch {
		case len(frames) == 0:
			return "", nil
		case frames[0].Func == "":
			return frames[0].Module, nil
		}
		return frames[0].String(), nil
	})
}

// hottest counts stacks that are the same in what of gives, and makes evidence of
// those met most often: a percentage of all of them.
func hottest(metric string, all []symbols.Stack, of func(symbols.Stack) (string, []string)) (out []incident.Evidence) {
	type group struct {
		subject string
		stack   []string
		n       int
	}
	groups := map[string]*group{}
	for _, s := range all {
		subject, stack := of(s)
		if subject == "" {
			continue
		}
		key := subject + "\n" + strings.Join(stack, "\n")
		if groups[key] == nil {
			groups[key] = &group{subject: subject, stack: stack}
		}
		groups[key].n++
	}
	var sorted []*group
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.subject, b.subject), slices.Compare(a.stack, b.stack))
	})
	for _, g := range sorted[:min(len(sorted), topHot)] {
		out = append(out, incident.Evidence{
			Metric: metric, Subject: g.subject, Value: 100 * float64(g.n) / float64(len(all)), Unit: "%", Stack: g.stack,
		})
	}
	return out
}
