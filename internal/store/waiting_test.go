package store

import (
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func TestWaiting(t *testing.T) { testWaiting(t, openTest) }

// Each phase has its open incidents, and the time from which on the first of them is
// in it; what is closed waits for nothing.
func testWaiting(t *testing.T, open opener) {
	s := open(t)
	if got, err := s.Waiting(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	var ids []string
	for _, key := range []string{"a", "b", "c", "d"} {
		seed := seed(alert(key, incident.Firing, noon))
		seed.DedupKey = key
		ids = append(ids, ingest(t, s, seed).ID)
	}
	for _, id := range ids[:2] {
		record(t, s, id, "diagnosing", Change{To: incident.Diagnosing, Event: incident.Event{Kind: "measuring"}})
	}
	record(t, s, ids[0], "later", Change{Event: incident.Event{Kind: "measuring"}})
	record(t, s, ids[3], KeyClosed, Change{To: incident.Escalated, Outcome: incident.Failed, Event: incident.Event{Kind: KindClosed}})
	got, err := s.Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Waiting{
		{incident.Diagnosing, 2, get(t, s, ids[0]).PhaseSince()},
		{incident.Received, 1, get(t, s, ids[2]).PhaseSince()},
	}
	if !slices.EqualFunc(got, want, func(a, b Waiting) bool {
		return a.Phase == b.Phase && a.Incidents == b.Incidents && a.Since.Equal(b.Since)
	}) {
		t.Errorf("waiting %v, want %v", got, want)
	}
	if since := got[0].Since; time.Since(since) > time.Minute {
		t.Errorf("diagnosing since %s", since)
	}
}
