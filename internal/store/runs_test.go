package store

import (
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// acted makes an incident that got as far as acting; close ends it.
func acted(t *testing.T, s *Store, name string) (id string, end func(incident.Outcome)) {
	t.Helper()
	id = ingest(t, s, Seed{DedupKey: name, Target: incident.Target{Namespace: "shop", Pod: name, Container: "app", Node: "n1"},
		Alerts: []incident.Alert{alert(name, incident.Firing, noon)}, Source: "alertmanager/kmend"}).ID
	record(t, s, id, "diagnosing", Change{To: incident.Diagnosing, Event: incident.Event{Kind: "diagnosing"}})
	record(t, s, id, "planned", Change{To: incident.Planned, Plan: &incident.Plan{Runbook: "raise"}, Event: incident.Event{Kind: "planned"}})
	record(t, s, id, "intent/0", Change{To: incident.Executing, Event: incident.Event{Kind: "intent"}})
	return id, func(o incident.Outcome) {
		record(t, s, id, KeyClosed, Change{To: incident.Escalated, Outcome: o, Event: incident.Event{Kind: "closed"}})
	}
}

// Runs has what is being done and what ended since a time, with the scope of the
// decision that let it act.
func TestRuns(t *testing.T) { testRuns(t, openTest) }

func testRuns(t *testing.T, empty opener) {
	s := empty(t)
	before := time.Now()
	running, _ := acted(t, s, "web-1")
	ended, end := acted(t, s, "web-2")
	scope := incident.Scope{Target: "t", Owner: "shop/Deployment/web", Zone: "z"}
	record(t, s, ended, "decided", Change{Decision: &incident.Decision{Effect: incident.Allow, Scope: scope}, Event: incident.Event{Kind: "decided"}})
	end(incident.Undone)
	ingest(t, s, Seed{DedupKey: "never acted", Target: incident.Target{Pod: "x"}, Alerts: []incident.Alert{alert("x", incident.Firing, noon)}})

	runs, err := s.Runs(t.Context(), before)
	if err != nil || len(runs) != 2 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	r := runs[0]
	if want := (incident.Scope{Target: "pod||shop|web-1|", Namespace: "shop", Node: "n1"}); r.Incident != running || !r.Ended.IsZero() || r.Outcome != "" || r.Scope != want || r.Runbook != "raise" || r.Started.Before(before) {
		t.Errorf("running: %+v, want scope %+v", r, want)
	}
	if r = runs[1]; r.Incident != ended || r.Ended.Before(r.Started) || r.Outcome != incident.Undone || r.Scope != scope {
		t.Errorf("ended: %+v", r)
	}
	if runs, err = s.Runs(t.Context(), time.Now()); err != nil || len(runs) != 1 || runs[0].Incident != running {
		t.Errorf("since now: %+v, %v", runs, err)
	}
}

func TestPause(t *testing.T) { testPause(t, openTest) }

func testPause(t *testing.T, empty opener) {
	s := empty(t)
	for range 2 {
		if _, paused, err := s.Paused(t.Context()); paused || err != nil {
			t.Fatalf("paused %v, %v", paused, err)
		}
		for _, by := range []string{"ada", "bob"} { // the first one stays
			if err := s.Pause(t.Context(), Pause{By: by, Reason: "looking", At: noon}); err != nil {
				t.Fatal(err)
			}
		}
		p, paused, err := s.Paused(t.Context())
		if want := (Pause{By: "ada", Reason: "looking", At: noon}); !paused || err != nil || p != want {
			t.Errorf("%+v, %v, %v", p, paused, err)
		}
		for range 2 {
			if err := s.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
