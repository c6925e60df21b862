package investigate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kmend/kmend/incident"
)

// Observer is a source beside the kernel: metrics, traces, logs. What it says is
// evidence for people; it makes no finding and changes no verdict.
type Observer interface {
	// Name is the source's: "prometheus", "loki".
	Name() string
	// Observe says what the source knows about inc.Aim() around inc.Diagnosis' window
	// and about inc's alerts. The evidence's ids are unique among all observers: each
	// has a letter of its own (m1, l1).
	Observe(ctx context.Context, inc incident.Incident) (Observed, error)
}

// Observed is one observer's answer.
type Observed struct {
	Observations []incident.Observation
	Evidence     []incident.Evidence
}

// observe asks all observers side by side and keeps their order.
func (i *Investigator) observe(ctx context.Context, inc incident.Incident, v *incident.Investigation) {
	answers := make([]Observed, len(i.opts.Observers))
	sources := make([]incident.Source, len(i.opts.Observers))
	var asking sync.WaitGroup
	for n, o := range i.opts.Observers {
		asking.Go(func() {
			err := i.asked(ctx, o.Name(), func(ctx context.Context) (err error) {
				answers[n], err = o.Observe(ctx, inc)
				return err
			})
			sources[n] = source(o.Name(), err)
		})
	}
	asking.Wait()
	v.Sources = slices.Concat(sources, v.Sources)
	for _, a := range answers {
		v.Observations = append(v.Observations, a.Observations...)
		v.Evidence = append(v.Evidence, a.Evidence...)
	}
}

// asked bounds one question to a source, and outlives one that panics.
func (i *Investigator) asked(ctx context.Context, name string, ask func(context.Context) error) (err error) {
	late := fmt.Errorf("no answer within %s", i.opts.SourceTimeout)
	asking, cancel := context.WithTimeoutCause(ctx, i.opts.SourceTimeout, late)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("internal error: panic: %v", v)
		}
		if err != nil {
			i.opts.Logger.Warn("a source did not answer", "source", name, "error", err)
		}
	}()
	if err = ask(asking); err != nil && errors.Is(context.Cause(asking), late) {
		return late
	}
	return err
}

func source(name string, err error) incident.Source {
	if err != nil {
		return incident.Source{Name: name, Status: incident.SourceFailed, Reason: err.Error()}
	}
	return incident.Source{Name: name, Status: incident.SourceOK}
}
