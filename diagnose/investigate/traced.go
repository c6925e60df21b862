package investigate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kmend/kmend/diagnose/traces"
	"github.com/kmend/kmend/incident"
)

// Tracer knows the way of requests through services: Jaeger, Tempo.
type Tracer interface {
	Name() string
	// Way goes from the service that has one of the names to the furthest one
	// downstream that is abnormal.
	Way(ctx context.Context, services []string, start, end time.Time) (traces.Way, error)
}

// traced asks all tracers and takes the longest way.
func (w *walk) traced(ctx context.Context, inc incident.Incident) (best traces.Way) {
	services, start := w.services(inc), began(inc).Add(-w.opts.Before)
	ways, errs := make([]traces.Way, len(w.opts.Tracers)), make([]error, len(w.opts.Tracers))
	var asking sync.WaitGroup
	for n, t := range w.opts.Tracers {
		asking.Go(func() {
			errs[n] = w.asked(ctx, t.Name(), func(ctx context.Context) (err error) {
				ways[n], err = t.Way(ctx, services, start, time.Now())
				return err
			})
		})
	}
	asking.Wait()
	for n, way := range ways {
		w.sources = append(w.sources, source(w.opts.Tracers[n].Name(), errs[n]))
		if len(way.Stops) > len(best.Stops) {
			best = way
		}
	}
	for n, way := range ways {
		if way.Message != "" && errs[n] == nil {
			w.observed = append(w.observed, incident.Observation{Source: w.opts.Tracers[n].Name(), Kind: "path", Message: way.Message})
		}
	}
	return best
}

// cite keeps a stop's evidence and gives the ids.
func (w *walk) cite(s traces.Stop) (ids []string) {
	for _, e := range s.Evidence {
		e.ID = fmt.Sprintf("t%d", len(w.evidence)+1)
		w.evidence = append(w.evidence, e)
		ids = append(ids, e.ID)
	}
	return ids
}

// began is when the first of the incident's alerts began.
func began(inc incident.Incident) time.Time {
	t := inc.ReceivedAt
	for _, a := range inc.Alerts {
		if !a.StartsAt.IsZero() && (t.IsZero() || a.StartsAt.Before(t)) {
			t = a.StartsAt
		}
	}
	return t
}

// replica is what a ReplicaSet adds to the name of a Deployment's pod.
var replica = regexp.MustCompile(`(-[a-z0-9]{6,10})?-[a-z0-9]{5}$`)

// services are the names that the alert's service may have in traces: what its
// labels say, then what its target is called.
func (w *walk) services(inc incident.Incident) (names []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, l := range w.opts.ServiceLabels {
		for _, a := range inc.Alerts {
			add(a.Labels[l])
		}
	}
	add(inc.Target.Service)
	_, workload := inc.Target.WorkloadKind()
	add(workload)
	add(inc.Target.Container)
	add(replica.ReplaceAllString(inc.Target.Pod, ""))
	unit, _, _ := strings.Cut(inc.Target.Unit, ".")
	add(unit)
	return names
}
