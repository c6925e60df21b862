package investigate

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/kmend/kmend/diagnose/traces"
	"github.com/kmend/kmend/incident"
)

// leg is a hop with the diagnosis of its target; without one its target is not known.
type leg struct {
	incident.Hop
	diagnosis *incident.Diagnosis
}

// walk measures the alert's target and goes on from it, by traces and then by what
// threads wait for, until there is no next hop, or at the most Depth of them. The
// diagnosis is that of the deepest hop that is confirmed: each hop is waited for by
// the one before it. Nothing confirmed: that of the alert's target.
func (i *Investigator) walk(ctx context.Context, inc incident.Incident, measure Measure) (incident.Diagnosis, *incident.Investigation, error) {
	w := &walk{Investigator: i, measure: measure}
	v, err := w.begin(ctx, inc)
	if err != nil {
		return incident.Diagnosis{}, nil, err
	}
	for len(w.legs) <= i.opts.Depth {
		more, err := w.next(ctx)
		if err != nil {
			return incident.Diagnosis{}, nil, err
		}
		if !more {
			break
		}
	}
	v.Hops, v.Observations, v.Evidence, v.Sources = nil, w.observed, w.evidence, append(v.Sources, w.sources...)
	for n, l := range w.legs {
		v.Hops = append(v.Hops, l.Hop)
		if l.Verdict == incident.Confirmed && l.diagnosis != nil {
			v.Root = n
		}
	}
	return *w.legs[v.Root].diagnosis, v, nil
}

// walk is one walk under way.
type walk struct {
	*Investigator
	measure  Measure
	legs     []leg
	observed []incident.Observation
	evidence []incident.Evidence
	sources  []incident.Source
}

// begin measures what the alert names, and meanwhile where traces lead.
func (w *walk) begin(ctx context.Context, inc incident.Incident) (v *incident.Investigation, err error) {
	var all sync.WaitGroup
	var named incident.Diagnosis
	all.Go(func() { named, v, err = w.named(ctx, inc, w.measure) })
	way := w.traced(ctx, inc)
	further := make([]leg, max(0, min(len(way.Stops)-1, w.opts.Depth)))
	errs := make([]error, len(further))
	for n := range further {
		stop := way.Stops[n+1]
		further[n].Hop = incident.Hop{Service: stop.Service, Via: incident.ViaTrace, Why: stop.Why, Evidence: w.cite(stop),
			Verdict: incident.Inconclusive, Message: "it was not measured: neither its spans nor the cluster say which pods it is, or which process of a node"}
		if behind := w.behind(ctx, inc.Target, stop); len(behind) > 0 {
			all.Go(func() { errs[n] = w.ask(ctx, &further[n], behind) })
		}
	}
	all.Wait()
	if err := errors.Join(err, errors.Join(errs...)); err != nil {
		return nil, err
	}
	w.legs = []leg{{v.Hops[0], &named}}
	if len(way.Stops) > 0 {
		w.legs[0].Service = way.Stops[0].Service
		w.legs[0].Evidence = w.cite(way.Stops[0])
	}
	w.legs = append(w.legs, further...)
	return v, nil
}

// behind is what a trace leads to: the instance that its spans name, else the pods
// behind its address, else those that are called as the service is.
func (w *walk) behind(ctx context.Context, alert incident.Target, s traces.Stop) (behind []incident.Target) {
	if c := s.Target.Cluster; c != "" && alert.Cluster != "" && !strings.EqualFold(c, alert.Cluster) {
		return nil // a pod of the same name may run here
	}
	switch {
	case s.Target != (incident.Target{Cluster: s.Target.Cluster}):
		behind = []incident.Target{s.Target}
	case s.Address.IsValid():
		behind = w.resolve(ctx, s.Address)
	}
	if len(behind) == 0 {
		behind = w.called(ctx, s.Service, alert.Namespace)
	}
	for i := range behind {
		behind[i].Cluster = alert.Cluster
	}
	return behind[:min(len(behind), w.opts.MaxPods)]
}

// ask measures a leg: of several that it may be, the worst is it.
func (w *walk) ask(ctx context.Context, l *leg, behind []incident.Target) error {
	answers, err := sideBySide(ctx, behind, w.measure)
	if err != nil {
		return err
	}
	n := worst(answers)
	if len(behind) > 1 {
		l.Why += "; " + chosen(answers, n)
	}
	l.Target = behind[n]
	h := hop(l.Target, l.Via, answers[n])
	l.Verdict, l.Cause, l.Message, l.diagnosis = h.Verdict, h.Cause, h.Message, &answers[n]
	return nil
}

// next measures who the last leg waits for; false where it waits for nobody, or for
// somebody who is not known.
func (w *walk) next(ctx context.Context) (more bool, err error) {
	last := w.last()
	if last < len(w.legs)-2 { // what traces name in between is not known
		return false, nil
	}
	behind, why := w.peer(ctx, w.legs[last])
	if len(behind) == 0 {
		return false, nil
	}
	l := leg{Hop: incident.Hop{Via: incident.ViaSocket, Why: why}}
	if err := w.ask(ctx, &l, behind); err != nil {
		return false, err
	}
	if last == len(w.legs)-2 { // who the traces mean
		l.Service, l.Evidence = w.legs[last+1].Service, w.legs[last+1].Evidence
		w.legs = w.legs[:last+1]
	}
	w.legs = append(w.legs, l)
	return true, nil
}

// last is the last leg that was measured.
func (w *walk) last() (n int) {
	for i, l := range w.legs {
		if l.diagnosis != nil {
			n = i
		}
	}
	return n
}
