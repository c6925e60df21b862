package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func TestForget(t *testing.T) { testForget(t, openTest) }

// What ended is forgotten with all that belongs to it; not what is open, nor an episode,
// a part or a parent of that.
func testForget(t *testing.T, empty opener) {
	s := empty(t)
	end := Change{To: incident.Escalated, Outcome: incident.OutcomeClean}
	closed, open := opened(t, s, "closed"), opened(t, s, "open")
	record(t, s, closed, KeyClosed, end)
	for _, err := range []error{s.KeepMessage(t.Context(), Message{Incident: closed, Channel: "C", TS: "1", Final: true}), s.KeepSent(t.Context(), Sent{Incident: closed})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	flapping := seed(alert("flapping", incident.Firing, noon))
	flapping.DedupKey, flapping.ExtendWithin = "flapping", time.Hour
	first := ingest(t, s, flapping).ID
	record(t, s, first, KeyClosed, end)
	flapping.Alerts = []incident.Alert{alert("flapping", incident.Firing, noon.Add(time.Minute))}
	second := ingest(t, s, flapping).ID
	family := map[string]string{}
	for _, key := range []string{"parent", "part", "other parent", "other part"} {
		family[key] = opened(t, s, key)
		node := map[string]string{"parent": "n1", "part": "n1"}[key]
		if node == "" {
			node = "n2"
		}
		record(t, s, family[key], "diagnosing", Change{To: incident.Diagnosing})
		record(t, s, family[key], "diagnosed", Change{CorrelateWithin: time.Hour, Diagnosis: &incident.Diagnosis{Node: incident.Node{Name: node}, Verdict: incident.Clean}})
	}
	for _, key := range []string{"parent", "other part"} { // the part of the one and the parent of the other are open
		record(t, s, family[key], KeyClosed, end)
	}
	if get(t, s, family["other part"]).Parent == nil || get(t, s, family["part"]).Parent == nil {
		t.Fatal("the parts have no parents")
	}
	old := func(before time.Time, limit int, want ...string) {
		t.Helper()
		slices.Sort(want)
		if ids, err := s.Old(t.Context(), before, limit); err != nil || !slices.Equal(ids, want) {
			t.Errorf("old are %v, %v; want %v", ids, err, want)
		}
	}
	later := time.Now().Add(time.Minute)
	old(time.Now().Add(-time.Minute), 10)
	old(later, 10, closed)
	if n, err := s.Forget(t.Context(), later, []string{closed, open, second}); n != 1 || err != nil {
		t.Fatalf("%d forgotten, %v", n, err)
	}
	for _, table := range []string{"timeline", "firings", "slack_messages", "pagerduty"} {
		var n int
		if err := s.readers.QueryRowContext(t.Context(), fmt.Sprintf(`SELECT count(*) FROM %s WHERE incident = ?`, table), closed).Scan(&n); err != nil || n > 0 {
			t.Errorf("%d rows of it are left in %s, %v", n, table, err)
		}
	}
	get(t, s, open)
	record(t, s, second, KeyClosed, end)
	record(t, s, family["part"], KeyClosed, end)
	record(t, s, family["other parent"], KeyClosed, end)
	all := []string{first, second}
	for _, id := range family {
		all = append(all, id)
	}
	old(later, 10, all...)
	old(later, 1, first, second) // the first that ended, with both its episodes
	if n, err := s.Forget(t.Context(), later, all); n != 6 || err != nil {
		t.Errorf("%d forgotten, %v", n, err)
	}
	old(later, 10)
}
