package investigate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

var web = incident.Target{Namespace: "shop", Pod: "web-1"}

func throttled(_ context.Context, t incident.Target) (incident.Diagnosis, error) {
	return incident.Diagnosis{Target: t, Verdict: incident.Confirmed,
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Message: "CPU throttled"}}}, nil
}

// said is an observer for tests.
type said struct {
	name string
	f    func(context.Context, incident.Incident) (Observed, error)
}

func (s said) Name() string { return s.name }
func (s said) Observe(ctx context.Context, inc incident.Incident) (Observed, error) {
	return s.f(ctx, inc)
}

func investigator(t *testing.T, change func(*Options)) *Investigator {
	t.Helper()
	o := DefaultOptions()
	o.SourceTimeout = 100 * time.Millisecond
	change(&o)
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Whatever an observer does, what the kernel said stays and the others are heard.
func TestObservers(t *testing.T) {
	note := func(id string) func(context.Context, incident.Incident) (Observed, error) {
		return func(_ context.Context, inc incident.Incident) (Observed, error) {
			if inc.Aim() != web || inc.Diagnosis.Findings[0].Cause != incident.CPUThrottled {
				t.Errorf("asked about %v", inc.Aim())
			}
			return Observed{[]incident.Observation{{Message: "says " + id, Evidence: []string{id}}}, []incident.Evidence{{ID: id}}}, nil
		}
	}
	i := investigator(t, func(o *Options) {
		o.Absent = []incident.Source{{Name: "tempo", Status: incident.SourceAbsent, Reason: "not configured"}}
		o.Observers = []Observer{
			said{"prometheus", note("m1")},
			said{"broken", func(context.Context, incident.Incident) (Observed, error) {
				return Observed{}, errors.New("status 500")
			}},
			said{"slow", func(ctx context.Context, _ incident.Incident) (Observed, error) {
				<-ctx.Done()
				return Observed{}, ctx.Err()
			}},
			said{"mad", func(context.Context, incident.Incident) (Observed, error) { panic("no") }},
			said{"loki", note("l1")},
		}
	})
	d, err := i.Investigate(t.Context(), incident.Incident{Target: web}, throttled)
	if err != nil || d.Verdict != incident.Confirmed || d.Investigation == nil {
		t.Fatalf("diagnosis %+v, %v", d, err)
	}
	v := d.Investigation
	if len(v.Observations) != 2 || v.Observations[0].Message != "says m1" || v.Observations[1].Message != "says l1" || len(v.Evidence) != 2 {
		t.Errorf("observations %+v, evidence %+v", v.Observations, v.Evidence)
	}
	for n, want := range []string{"prometheus ok ", "broken failed status 500", "slow failed no answer within 100ms", "mad failed internal error: panic: no", "loki ok ", "tempo absent not configured"} {
		if n >= len(v.Sources) {
			t.Fatalf("sources %+v", v.Sources)
		}
		if got := v.Sources[n].Name + " " + string(v.Sources[n].Status) + " " + v.Sources[n].Reason; got != want {
			t.Errorf("source %d is %q, want %q", n, got, want)
		}
	}
	if h, ok := v.RootHop(); !ok || h.Target != web || h.Via != incident.ViaAlert || h.Cause != incident.CPUThrottled {
		t.Errorf("root hop %+v, %v", h, ok)
	}
}

func TestMeasureFails(t *testing.T) {
	i := investigator(t, func(*Options) {})
	_, err := i.Investigate(t.Context(), incident.Incident{Target: web}, func(context.Context, incident.Target) (incident.Diagnosis, error) {
		return incident.Diagnosis{}, errors.New("kmend stops")
	})
	if err == nil || !strings.Contains(err.Error(), "kmend stops") {
		t.Errorf("error is %v", err)
	}
}
