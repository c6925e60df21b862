package respond

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// atMost is a guard that lets n plans run at once by what the store says, as
// guards.concurrent does.
func atMost(t *testing.T, n int, b *bench) func(incident.Incident, incident.Plan) incident.Decision {
	return func(inc incident.Incident, _ incident.Plan) incident.Decision {
		runs, err := b.store.Runs(context.WithoutCancel(t.Context()), time.Now())
		if err != nil {
			return incident.Decision{Effect: incident.Deny, Reason: err.Error()}
		}
		d := incident.Decision{Effect: incident.Allow, Policy: "test"}
		others := 0
		for _, r := range runs {
			if r.Incident != inc.ID && r.Ended.IsZero() {
				others++
			}
		}
		if others >= n {
			d.Wait = fmt.Sprintf("%d plans run", others)
		}
		return d
	}
}

// Twelve incidents on twelve targets, of which two may be acted on at once: never
// more are, and all are in the end.
func TestPlansWaitForRoom(t *testing.T) {
	t.Parallel()
	const incidents, most = 12, 2
	var b bench
	ready := make(chan struct{})
	var running, peak atomic.Int32
	decide := atMost(t, most, &b)
	d := &stages{
		decide: func(inc incident.Incident, p incident.Plan) incident.Decision { <-ready; return decide(inc, p) },
		apply: func(_ context.Context, _ incident.Plan, step int) (incident.Execution, error) {
			if step == 0 {
				if n := running.Add(1); n > peak.Load() {
					peak.Store(n)
				}
			}
			time.Sleep(10 * time.Millisecond)
			return incident.Execution{Result: "applied", State: map[string]string{}}, nil
		},
		verify: func(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
			running.Add(-1)
			return incident.Verification{Cause: p.Cause, Better: true, Reason: "better", Diagnosis: after}
		},
	}
	b = start(t, d, func(o *Options) { o.MaxDiagnoses, o.MaxDiagnosesPerNode = incidents, incidents })
	close(ready)
	for i := range incidents {
		b.ingest(firing(fmt.Sprintf("/%d", i)))
	}
	waited := 0
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		runs, err := b.store.Runs(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		fixed := 0
		for _, r := range runs {
			if r.Outcome == incident.Fixed {
				fixed++
			}
		}
		if fixed == incidents {
			for _, r := range runs {
				inc, err := b.store.Get(t.Context(), r.Incident)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range inc.Timeline {
					if e.Kind == "waiting" && strings.Contains(e.Message, "plans run") {
						waited++
					}
				}
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d are fixed after a minute", fixed, incidents)
		}
	}
	if peak.Load() > most || waited == 0 {
		t.Errorf("at most %d ran at once, want %d; %d waited", peak.Load(), most, waited)
	}
}

// Room that never comes ends with the age of the measurement.
func TestNoRoomInTime(t *testing.T) {
	t.Parallel()
	d := &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
		return incident.Decision{Effect: incident.Allow, Policy: "test", Wait: "it is full"}
	}}
	b := start(t, d, func(o *Options) { o.MaxEvidenceAge = func() time.Duration { return 300 * time.Millisecond } })
	b.ingest(firing("/a"))
	inc := b.reported()
	if inc.Outcome != incident.Expired || !hasKind(inc, "waiting") {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
	for _, note := range d.notes() {
		if strings.HasPrefix(note, "apply") {
			t.Errorf("%s without room", note)
		}
	}
}

// An alert that resolves while its plan waits for room closes the incident.
func TestResolvedWhileWaitingForRoom(t *testing.T) {
	t.Parallel()
	d := &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
		return incident.Decision{Effect: incident.Allow, Policy: "test", Wait: "it is full"}
	}}
	b := start(t, d)
	b.ingest(firing("/a"))
	b.until("waiting", func(inc incident.Incident) bool { return hasKind(inc, "waiting") })
	b.ingest(resolvedOf(firing("/a")))
	if inc := b.reported(); inc.Outcome != incident.Superseded {
		t.Errorf("outcome %s: %s", inc.Outcome, inc.Reason)
	}
}
