package respond

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// measureTries is how often a diagnosis is asked for that ends in an error.
const measureTries = 3

// diagnose asks the kernel. Only a confirmed cause goes on.
func (r *Responder) diagnose(ctx context.Context, p store.Progress) (End, error) {
	if p.NoTarget != "" || p.Target.Key() == "" {
		return end(incident.NoTarget, "%s", or(p.NoTarget, "the alert names nothing that can be measured")), nil
	}
	if p.Diagnosis != nil {
		return verdict(*p.Diagnosis), nil // measured before the crash
	}
	d, err := r.investigate(ctx, p)
	if err != nil {
		return End{}, err
	}
	return verdict(d), r.keepDiagnosis(ctx, p, "diagnosed", d)
}

// investigate measures what the alert names, and what that leads to.
func (r *Responder) investigate(ctx context.Context, p store.Progress) (incident.Diagnosis, error) {
	var mu sync.Mutex
	begun := "" // the first target, whose measurement begins the phase
	measure := func(ctx context.Context, t incident.Target) (incident.Diagnosis, error) {
		d, err := r.measure(ctx, t, r.Window, func() error {
			mu.Lock()
			defer mu.Unlock()
			key, c := "measuring/"+t.Key(), store.Change{Event: incident.Event{Kind: "measuring", Message: fmt.Sprintf("measuring %s for %s", t, r.Window)}}
			if begun = or(begun, t.Key()); begun == t.Key() {
				key, c.To = "diagnosing", incident.Diagnosing
			}
			return r.record(ctx, p.ID, key, c)
		})
		if err != nil {
			return d, err
		}
		return r.recall(ctx, p, d), nil
	}
	if r.Investigator == nil {
		return measure(ctx, p.Target)
	}
	return r.Investigator.Investigate(ctx, p.Incident, measure)
}

// recall asks about the past as well: most alerts come when their fault is over.
func (r *Responder) recall(ctx context.Context, p store.Progress, live incident.Diagnosis) incident.Diagnosis {
	past, ok := r.Diagnoser.(Recaller)
	if !ok {
		return live
	}
	var began time.Time
	for _, a := range p.Alerts {
		if !a.StartsAt.IsZero() && (began.IsZero() || a.StartsAt.Before(began)) {
			began = a.StartsAt
		}
	}
	return past.Recall(ctx, live, began)
}

// keepDiagnosis saves a diagnosis and says on the timeline what it found.
func (r *Responder) keepDiagnosis(ctx context.Context, p store.Progress, key string, d incident.Diagnosis) error {
	if d.Verdict == incident.Confirmed && p.Diagnosis == nil && !p.Test {
		took := time.Since(p.ReceivedAt)
		r.metrics.caused.Observe(took.Seconds())
		r.metrics.confirmed.Observe((took - r.Window).Seconds())
	}
	within := r.CorrelateWithin
	if p.Diagnosis != nil || p.Test {
		within = 0 // measured again: what it is part of is known
	}
	return r.record(ctx, p.ID, key, store.Change{Diagnosis: &d, CorrelateWithin: within, Event: incident.Event{
		Kind: string(verdictOf(d)), Message: messageOf(d), Fields: map[string]string{"node": d.Node.Name}}})
}

// verdict lets a confirmed cause go on and ends everything else.
func verdict(d incident.Diagnosis) End {
	switch verdictOf(d) {
	case incident.Confirmed:
		return End{}
	case incident.Clean:
		return end(incident.OutcomeClean, "%s", messageOf(d))
	}
	return end(incident.OutcomeInconclusive, "%s", messageOf(d))
}

// verdictOf trusts a diagnosis to be confirmed or clean only when its root
// finding says the same.
func verdictOf(d incident.Diagnosis) incident.Verdict {
	switch {
	case d.Verdict == incident.Clean:
		return incident.Clean
	case d.Verdict == incident.Confirmed && len(d.Findings) > 0 && d.Findings[0].Verdict == incident.Confirmed && d.Findings[0].Cause != "":
		return incident.Confirmed
	}
	return incident.Inconclusive
}

func messageOf(d incident.Diagnosis) string {
	if len(d.Findings) > 0 {
		return d.Findings[0].Message
	}
	return fmt.Sprintf("the diagnosis says %s and has no finding", or(string(d.Verdict), "nothing"))
}

// measure asks for one diagnosis when there is room for it on the node; before
// is called then. What cannot be measured is an inconclusive diagnosis. An error
// means that the flow has to stop here.
func (r *Responder) measure(ctx context.Context, t incident.Target, window time.Duration, before func() error) (incident.Diagnosis, error) {
	leave, err := r.room.enter(ctx, t.Node)
	if err != nil {
		return incident.Diagnosis{}, err
	}
	defer leave()
	if err := before(); err != nil {
		return incident.Diagnosis{}, err
	}
	for try := 1; ; try++ {
		d, err := r.measureOnce(ctx, t, window)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return incident.Diagnosis{}, context.Cause(ctx)
		}
		if try == measureTries {
			return unmeasured(t, err), nil
		}
		r.Logger.Warn("diagnosis is tried again", "target", t.String(), "try", try, "error", err)
		if err := sleep(ctx, time.Duration(try)*500*time.Millisecond); err != nil {
			return incident.Diagnosis{}, err
		}
	}
}

func (r *Responder) measureOnce(ctx context.Context, t incident.Target, window time.Duration) (incident.Diagnosis, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, window+r.MeasureTimeout,
		fmt.Errorf("no diagnosis within %s", window+r.MeasureTimeout))
	defer cancel()
	d, err := r.Diagnoser.Diagnose(ctx, t, window)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return d, err
}

// unmeasured is the diagnosis of what no agent answered for.
func unmeasured(t incident.Target, err error) incident.Diagnosis {
	return incident.Diagnosis{
		APIVersion: incident.APIVersion, Kind: "Diagnosis", Target: t, Verdict: incident.Inconclusive,
		Findings: []incident.Finding{{Verdict: incident.Inconclusive, Message: fmt.Sprintf("%s was not measured: %v", t, err), Evidence: []string{}}},
		Evidence: []incident.Evidence{}, Probes: []incident.ProbeStatus{},
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
