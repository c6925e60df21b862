package investigate

import (
	"context"
	"errors"
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
	var further []leg
	for n := 1; n < len(way.Stops) && n <= w.opts.Depth; n++ {
		further = append(further, leg{Hop: w.stop(ctx, inc.Target, way.Stops[n])})
	}
	errs := make([]error, len(further))
	for n := range further {
		if !further[n].Target.IsZero() {
			all.Go(func() { errs[n] = w.ask(ctx, &further[n]) })
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

// stop is the hop that a trace leads to.
func (w *walk) stop(ctx context.Context, alert incident.Target, s traces.Stop) incident.Hop {
	h := incident.Hop{Target: s.Target, Service: s.Service, Via: incident.ViaTrace, Why: s.Why, Evidence: w.cite(s),
		Verdict: incident.Inconclusive, Message: "it was not measured: its spans name no pod, and no process of a node"}
	if h.Target.IsZero() && s.Address.IsValid() {
		if pods := w.resolve(ctx, s.Address); len(pods) == 1 { // of several, traces do not say which
			h.Target = pods[0]
		}
	}
	if !h.Target.IsZero() {
		h.Target.Cluster = alert.Cluster
	}
	return h
}

// ask measures a leg.
func (w *walk) ask(ctx context.Context, l *leg) error {
	d, err := w.measure(ctx, l.Target)
	if err != nil {
		return err
	}
	l.answered(d)
	return nil
}

// answered fills in what the node said.
func (l *leg) answered(d incident.Diagnosis) {
	h := hop(l.Target, l.Via, d)
	l.Verdict, l.Cause, l.Message, l.diagnosis = h.Verdict, h.Cause, h.Message, &d
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
	answers, err := sideBySide(ctx, behind, w.measure)
	if err != nil {
		return false, err
	}
	n := worst(answers)
	l := leg{Hop: incident.Hop{Target: behind[n], Via: incident.ViaSocket, Why: why}}
	if len(behind) > 1 {
		l.Why += "; " + chosen(answers, n)
	}
	l.answered(answers[n])
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
