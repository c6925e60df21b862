package investigate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kmend/kmend/incident"
)

// Workloads knows the pods behind the name that an alert gives (diagnose/workloads).
type Workloads interface {
	// Listed waits until Pods can answer, for as long as that takes where the program has
	// just started.
	Listed(ctx context.Context)
	// Pods are the running ones; none is a NothingError that says so.
	Pods(ctx context.Context, t incident.Target) ([]incident.Target, error)
}

// NothingError is an answer of Workloads: nothing runs behind that name.
type NothingError string

func (n NothingError) Error() string { return string(n) }

// Ranker says which pods to ask first (diagnose/metrics).
type Ranker interface {
	// Rank puts the most suspicious pods of those given first; why is a sentence about
	// it. What it leaves out comes after, as it was.
	Rank(ctx context.Context, inc incident.Incident, pods []incident.Target) (ranked []incident.Target, why string, err error)
}

// candidates diagnoses pods behind what the alert names, side by side, and chooses the
// one that the diagnosis is about.
func (i *Investigator) candidates(ctx context.Context, inc incident.Incident, measure Measure) (incident.Diagnosis, *incident.Investigation, error) {
	v := &incident.Investigation{}
	began := time.Now()
	var pods []incident.Target
	i.opts.Workloads.Listed(ctx) // nothing is measured without
	err := i.asked(ctx, "kubernetes", func(ctx context.Context) (err error) {
		pods, err = i.opts.Workloads.Pods(ctx, inc.Target)
		return err
	})
	answered := err
	if _, ok := errors.AsType[NothingError](err); ok {
		answered = nil
	}
	v.Sources = append(v.Sources, source("kubernetes", answered))
	if ctx.Err() != nil {
		return incident.Diagnosis{}, nil, context.Cause(ctx)
	}
	if err != nil {
		d := unknown(inc.Target, began, err)
		v.Hops = []incident.Hop{hop(inc.Target, incident.ViaAlert, d)}
		return d, v, nil
	}
	running := len(pods)
	pods, why := i.rank(ctx, inc, pods)
	pods = pods[:min(len(pods), i.opts.MaxPods)]
	answers, err := sideBySide(ctx, pods, measure)
	if err != nil {
		return incident.Diagnosis{}, nil, err
	}
	n := worst(answers)
	v.Extent = extent(inc.Target, pods, answers, n, running)
	h := hop(pods[n], incident.ViaAlert, answers[n])
	h.Why = why + "; " + chosen(answers, n)
	v.Hops = []incident.Hop{h}
	return answers[n], v, nil
}

// rank brings the suspicious pods to the front, where somebody knows them.
func (i *Investigator) rank(ctx context.Context, inc incident.Incident, pods []incident.Target) (_ []incident.Target, why string) {
	if i.opts.Ranker == nil || len(pods) == 1 {
		return pods, "the pods in the order of their names"
	}
	var first []incident.Target
	err := i.asked(ctx, "prometheus", func(ctx context.Context) (err error) {
		first, why, err = i.opts.Ranker.Rank(ctx, inc, slices.Clone(pods))
		return err
	})
	if err != nil {
		return pods, "the pods in the order of their names, for Prometheus ranks none: " + err.Error()
	}
	ranked := make([]incident.Target, 0, len(pods))
	for _, p := range slices.Concat(first, pods) {
		if slices.Contains(pods, p) && !slices.Contains(ranked, p) {
			ranked = append(ranked, p)
		}
	}
	return ranked, why
}

// sideBySide measures all of them at once; measure keeps the bound of a node.
func sideBySide(ctx context.Context, pods []incident.Target, measure Measure) ([]incident.Diagnosis, error) {
	answers, errs := make([]incident.Diagnosis, len(pods)), make([]error, len(pods))
	var measuring sync.WaitGroup
	for n, p := range pods {
		measuring.Go(func() { answers[n], errs[n] = measure(ctx, p) })
	}
	measuring.Wait()
	return answers, errors.Join(errs...)
}

// worst is the answer to go on with: the confirmed one of the largest share; without
// one, the first that says nothing, for then not all are clean.
func worst(answers []incident.Diagnosis) (best int) {
	for n, d := range answers {
		f, ok := d.RootCause()
		b, was := answers[best].RootCause()
		switch {
		case ok && (!was || f.Share > b.Share):
			best = n
		case !ok && !was && d.Verdict == incident.Inconclusive && answers[best].Verdict == incident.Clean:
			best = n
		}
	}
	return best
}

func chosen(answers []incident.Diagnosis, n int) string {
	f, ok := answers[n].RootCause()
	switch {
	case len(answers) == 1:
		return "it is the only one that was asked"
	case !ok:
		return fmt.Sprintf("none of the %d that were asked has a confirmed cause", len(answers))
	}
	return fmt.Sprintf("of the %d that were asked it has the largest confirmed share: %.0f%% of %s", len(answers), 100*f.Share, f.Cause)
}

// extent says how far the finding of answers[n] reaches, and what the others have.
func extent(of incident.Target, pods []incident.Target, answers []incident.Diagnosis, n, running int) *incident.Extent {
	root, confirmed := answers[n].RootCause()
	e := &incident.Extent{Of: of.String(), Pods: running, Measured: len(pods)}
	others := map[string]int{}
	for k, d := range answers {
		f, ok := d.RootCause()
		a := incident.Asked{Pod: pods[k].Pod, Node: pods[k].Node, Verdict: d.Verdict, Cause: f.Cause, Share: f.Share}
		e.Asked = append(e.Asked, a)
		switch {
		case ok == confirmed && f.Cause == root.Cause && d.Verdict == answers[n].Verdict:
			e.Same++
			if !slices.Contains(e.Nodes, a.Node) {
				e.Nodes = append(e.Nodes, a.Node)
			}
		case ok:
			others[string(f.Cause)]++
		default:
			others[string(d.Verdict)]++
		}
	}
	slices.Sort(e.Nodes)
	e.Message = fmt.Sprintf("%d of %d pods", e.Same, running)
	if len(pods) < running {
		e.Message = fmt.Sprintf("%d of the %d pods that were measured, of %d that run", e.Same, len(pods), running)
	}
	switch {
	case len(e.Nodes) == 1 && e.Same > 1:
		e.Message += ", all on " + e.Nodes[0]
	case len(e.Nodes) == 1:
		e.Message += ", on " + e.Nodes[0]
	default:
		e.Message += fmt.Sprintf(", on %d nodes", len(e.Nodes))
	}
	if confirmed {
		e.Message = string(root.Cause) + ": " + e.Message
	} else {
		e.Message = string(answers[n].Verdict) + ": " + e.Message
	}
	if len(others) > 0 {
		var rest []string
		for what, count := range others {
			rest = append(rest, fmt.Sprintf("%d %s", count, what))
		}
		slices.Sort(rest)
		e.Message += "; the others do not agree: " + strings.Join(rest, ", ")
	}
	return e
}

// unknown is the diagnosis of what has no pods that could be asked.
func unknown(t incident.Target, began time.Time, why error) incident.Diagnosis {
	return incident.Diagnosis{
		APIVersion: incident.APIVersion, Kind: "Diagnosis", Target: t, Verdict: incident.Inconclusive,
		Window:   incident.Window{Start: began},
		Findings: []incident.Finding{{Verdict: incident.Inconclusive, Message: fmt.Sprintf("%s was not measured: %v", t, why), Evidence: []string{}}},
		Evidence: []incident.Evidence{}, Probes: []incident.ProbeStatus{},
		Ledger: incident.Ledger{States: map[incident.State]float64{}},
	}
}
