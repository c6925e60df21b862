package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// opened opens an incident of a key.
func opened(t *testing.T, s *Store, key string) string {
	t.Helper()
	about := seed(alert(key, incident.Firing, noon))
	about.DedupKey = key
	return ingest(t, s, about).ID
}

// Others are those of the same group that somebody may be needed for.
func TestOthers(t *testing.T) { testOthers(t, openTest) }

func testOthers(t *testing.T, empty opener) {
	s := empty(t)
	one := func(key string) string { return opened(t, s, key) }
	a, b, c := one("{}:{x=\"ü\"}\na"), one("{}:{x=\"ü\"}\nb"), one("{}:{x=\"ü\"}\nc")
	one("{}:{x=\"üb\"}\nd")
	want := func(since time.Time, n int) {
		t.Helper()
		if got, err := s.Others(t.Context(), a, since); err != nil || got != n {
			t.Errorf("Others = %d, %v; want %d", got, err, n)
		}
	}
	want(time.Unix(0, 0), 2)
	want(time.Now().Add(time.Minute), 0)
	for i, to := range []incident.Phase{incident.Diagnosing, incident.Planned, incident.Executing, incident.Verifying} {
		record(t, s, b, fmt.Sprint(i), Change{To: to})
	}
	record(t, s, b, "end", Change{To: incident.ResolvedPhase, Outcome: incident.Fixed})
	want(time.Unix(0, 0), 1)
	record(t, s, c, "end", Change{To: incident.Escalated, Outcome: incident.Denied})
	want(time.Unix(0, 0), 1)
}

// What PagerDuty was told is read as it was kept, and what it was not told is found.
func TestSent(t *testing.T) { testSent(t, openTest) }

func testSent(t *testing.T, empty opener) {
	s := empty(t)
	one := func(key string) string { return opened(t, s, key) }
	a, b := one("a"), one("b")
	if v, err := s.Sent(t.Context(), a); err != nil || v != (Sent{}) {
		t.Errorf("Sent of what was told nothing: %+v, %v", v, err)
	}
	unsent := func(since time.Time, want ...string) {
		t.Helper()
		slices.Sort(want)
		if ids, err := s.Unsent(t.Context(), since); err != nil || !slices.Equal(ids, want) {
			t.Errorf("Unsent = %v, %v; want %v", ids, err, want)
		}
	}
	unsent(time.Now(), a, b)
	for _, v := range []Sent{{Incident: a, Notes: 1, Found: "Q1"}, {Incident: a, Notes: 2, Found: "Q2", Paged: true, Status: "acknowledged", Route: "shop"}} {
		if err := s.KeepSent(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Sent(t.Context(), a); err != nil || got != v {
			t.Errorf("Sent = %+v, %v; want %+v", got, err, v)
		}
	}
	record(t, s, a, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	record(t, s, b, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	unsent(time.Now().Add(-time.Minute), a, b)
	unsent(time.Now().Add(time.Minute), a) // b closed long ago, and nobody began to tell of it
	if err := s.KeepSent(t.Context(), Sent{Incident: a, Done: true}); err != nil {
		t.Fatal(err)
	}
	unsent(time.Now().Add(time.Minute))
}
