package respond

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// However much the policies allow, a test alert goes the way to its plan and changes
// nothing, while a real one about the same target is healed beside it.
func TestTestAlertNeverActs(t *testing.T) {
	t.Parallel()
	for name, decide := range map[string]func(incident.Incident, incident.Plan) incident.Decision{"allowed": nil, "asked": askPerson} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &stages{decide: decide}
			b := start(t, d)
			id, err := b.TestAlert(t.Context(), map[string]string{"alertname": "T", "cgroup": "/a"}, false)
			if err != nil {
				t.Fatal(err)
			}
			inc := told(b, id)
			if !inc.Test || inc.Outcome != incident.DryRun || !strings.Contains(inc.Reason, "dry run: raise first; raise second") {
				t.Errorf("%s (%s), test %v", inc.Outcome, inc.Reason, inc.Test)
			}
			if len(inc.Decisions) != 1 || !inc.Decisions[0].DryRun {
				t.Errorf("decisions %+v", inc.Decisions)
			}
			if notes := d.notes(); slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, "apply") }) {
				t.Errorf("stages asked: %v", notes)
			}
		})
	}
}

// It has no claim on its target and waits for none, no delivery joins it, and it is
// counted for itself.
func TestTestAlertIsNobodysIncident(t *testing.T) {
	t.Parallel()
	waits := make(chan struct{})
	d := &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		if inc.Test {
			<-waits
		}
		return incident.Decision{Effect: incident.Allow, Policy: "test"}
	}}
	b := start(t, d)
	id, err := b.TestAlert(t.Context(), map[string]string{"cgroup": "/a"}, true)
	if err != nil {
		t.Fatal(err)
	}
	n := firing("/a")
	b.ingest(n)
	list, err := b.store.List(t.Context(), store.Filter{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	for _, inc := range list {
		if inc.ID == id {
			continue
		}
		if got := told(b, inc.ID); got.Outcome != incident.Fixed || got.Test || got.Parent != nil {
			t.Errorf("beside a test alert: %s (%s), %+v", got.Outcome, got.Reason, got.Parent)
		}
	}
	close(waits)
	inc := told(b, id)
	if inc.Outcome != incident.DryRun || !inc.TestPosted || inc.Deliveries != 1 || inc.Parent != nil || inc.Parts != nil {
		t.Errorf("%+v", inc)
	}
	if got := testutil.ToFloat64(b.metrics.tests.WithLabelValues("dry_run")); got != 1 {
		t.Errorf("%v test incidents are counted", got)
	}
	if got := testutil.ToFloat64(b.metrics.closed.WithLabelValues("dry_run", string(incident.CPUThrottled))); got != 0 {
		t.Errorf("%v incidents are counted as dry_run", got)
	}
}

// told is an incident when it has ended and was reported.
func told(b bench, id string) incident.Incident {
	b.t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		p, err := b.store.Progress(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, done := p.Keys["report"]; done {
			return p.Incident
		}
	}
	b.t.Fatalf("incident %s has not ended within 20 s", id)
	return incident.Incident{}
}
