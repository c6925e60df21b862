// Package investigate is the part of diagnosing that goes from what an alert names to
// what is to blame: the pods behind a name, the next hop of a call chain, and what
// metrics and logs say about the target that it came to. Every node on the way is
// asked, and only the kernel confirms; the sources beside it say where to ask next and
// what else there is to know. Each of them is optional and has a time limit, and its
// absence is part of the answer.
package investigate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kmend/kmend/incident"
)

// Measure asks the node of one target. It may be called side by side.
type Measure = func(context.Context, incident.Target) (incident.Diagnosis, error)

// Options of an Investigator. Start from DefaultOptions.
type Options struct {
	// Workloads knows the pods behind a name; nil: an alert that names no pod is one
	// that cannot be measured.
	Workloads Workloads
	// Ranker puts suspicious pods first; nil: they are asked in the order of their names.
	Ranker Ranker
	// MaxPods is how many pods are measured for one alert.
	MaxPods int
	// Tracers say where requests go on to.
	Tracers []Tracer
	// Addresses says whose the address of a peer is; nil: Workloads, if it knows, else
	// only the node's agent.
	Addresses Addresses
	// Depth is how many hops are asked at most after the alert's own.
	Depth int
	// Before is how long before an alert its slow requests are looked for.
	Before time.Duration
	// ServiceLabels name the alert's service, as it is called in traces.
	ServiceLabels []string
	// Observers say what is to be known of the target that was found: metrics, logs.
	Observers []Observer
	// Absent are sources that are not configured, by name and with the reason.
	Absent []incident.Source
	// SourceTimeout is what one source may take for one question.
	SourceTimeout time.Duration
	Logger        *slog.Logger
}

// DefaultOptions is without any source.
func DefaultOptions() Options {
	return Options{
		MaxPods: 5, Depth: 5, Before: 5 * time.Minute, ServiceLabels: []string{"service_name", "service", "app", "job"},
		SourceTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

func (o Options) validate() error {
	switch {
	case o.MaxPods < 1 || o.MaxPods > 50:
		return fmt.Errorf("option MaxPods is %d; it must be from 1 to 50", o.MaxPods)
	case o.Depth < 0 || o.Depth > 10:
		return fmt.Errorf("option Depth is %d; it must be from 0 to 10", o.Depth)
	case o.Before < 0 || o.Before > time.Hour:
		return fmt.Errorf("option Before is %s; it must be from 0s to 1h", o.Before)
	case o.SourceTimeout < 100*time.Millisecond || o.SourceTimeout > time.Minute:
		return fmt.Errorf("option SourceTimeout is %s; it must be from 100ms to 1m", o.SourceTimeout)
	case o.Logger == nil:
		return errors.New("option Logger is nil; use slog.New(slog.DiscardHandler) for none")
	}
	return nil
}

// Investigator is respond's investigator.
type Investigator struct{ opts Options }

// New makes an Investigator.
func New(o Options) (*Investigator, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("making an investigator: %w", err)
	}
	if a, ok := o.Workloads.(Addresses); ok && o.Addresses == nil {
		o.Addresses = a
	}
	return &Investigator{o}, nil
}

// Investigate diagnoses what the alerts name and goes on from there. The diagnosis is
// that of the target it came to, with the way in its Investigation. An error is for
// what may work when tried again.
func (i *Investigator) Investigate(ctx context.Context, inc incident.Incident, measure Measure) (incident.Diagnosis, error) {
	d, v, err := i.walk(ctx, inc, surviving(measure))
	if err != nil {
		return incident.Diagnosis{}, err
	}
	v.Sources = append(v.Sources, i.opts.Absent...)
	d.Investigation = v
	inc.Diagnosis = &d
	i.observe(ctx, inc, v)
	return d, nil
}

// surviving makes a panic an answer: several are asked side by side, and one in a
// goroutine of its own would end the process, and again when it is started again.
func surviving(measure Measure) Measure {
	return func(ctx context.Context, t incident.Target) (d incident.Diagnosis, err error) {
		defer func() {
			if v := recover(); v != nil {
				d, err = unknown(t, time.Now(), fmt.Errorf("internal error: panic: %v", v)), nil
			}
		}()
		return measure(ctx, t)
	}
}

// named diagnoses what the alert names: one thing, or pods behind a name.
func (i *Investigator) named(ctx context.Context, inc incident.Incident, measure Measure) (incident.Diagnosis, *incident.Investigation, error) {
	if inc.Target.Many() && i.opts.Workloads != nil {
		return i.candidates(ctx, inc, measure)
	}
	d, err := measure(ctx, inc.Target) // of a name that nobody resolves, it says so
	return d, &incident.Investigation{Hops: []incident.Hop{hop(inc.Target, incident.ViaAlert, d)}}, err
}

// hop is one target and what its node said.
func hop(t incident.Target, via incident.Via, d incident.Diagnosis) incident.Hop {
	h := incident.Hop{Target: t, Via: via, Verdict: d.Verdict}
	if len(d.Findings) > 0 {
		h.Message = d.Findings[0].Message
	}
	if f, ok := d.RootCause(); ok {
		h.Cause = f.Cause
	}
	return h
}
