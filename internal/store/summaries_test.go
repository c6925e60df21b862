package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// A summary is written by one replica, once about the same facts, and no more than
// twice where kmend ends in the middle.
func TestSummaries(t *testing.T) { testSummaries(t, openTest) }

func testSummaries(t *testing.T, empty opener) {
	s := empty(t)
	a, b, c := opened(t, s, "a"), opened(t, s, "b"), opened(t, s, "c")
	s.lease.set("one", "")
	defer s.lease.set("", "")
	const phase = incident.Received
	reserve := func(replica, id, digest string, held time.Duration, want Reserved) {
		t.Helper()
		s.lease.set(replica, "")
		if got, err := s.ReserveSummary(t.Context(), id, phase, digest, held); err != nil || got != want {
			t.Errorf("%s reserves %s: %s, %v; want %s", replica, digest, got, err, want)
		}
	}
	if s.Shared() {
		reserve("", a, "d1", time.Minute, ReservedElsewhere)
	}
	reserve("one", a, "d1", time.Minute, ReservedHere)
	reserve("two", a, "d1", time.Minute, ReservedElsewhere)
	reserve("two", b, "d1", time.Minute, ReservedElsewhere) // the same facts
	reserve("two", c, "d2", time.Minute, ReservedHere)
	if known, err := s.SummaryKnown(t.Context(), a, phase); known || err != nil {
		t.Errorf("known %v, %v while it is being written", known, err)
	}
	if got := get(t, s, a).Summary; got != nil {
		t.Errorf("summary %+v while it is being written", got)
	}

	want := incident.Summary{By: "m", Title: []incident.Sentence{{Text: "A title", Evidence: []string{"e1"}}}}
	for _, m := range []Message{{Incident: a, Channel: "C", TS: "1", Final: true}, {Incident: b, Channel: "C", TS: "2", Final: true}} {
		if err := s.KeepMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.KeepSummary(t.Context(), a, phase, "model", &want); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Message(t.Context(), a); err != nil || m.Final {
		t.Errorf("message %+v, %v; want one that has to be edited", m, err)
	}
	if err := s.KeepSummary(t.Context(), a, phase, "late", nil); err != nil {
		t.Fatal(err)
	}
	reserve("two", a, "d1", time.Minute, ReservedDone)
	reserve("two", b, "d1", time.Minute, ReservedDone) // taken over from a
	for _, id := range []string{a, b} {
		if got := get(t, s, id).Summary; got == nil || got.By != "m" || got.Title[0].Text != "A title" {
			t.Errorf("summary of %s is %+v", id, got)
		}
	}

	// The second replica's process ends in the middle, twice.
	reserve("two", c, "d2", 0, ReservedHere)
	reserve("one", c, "d2", 0, ReservedDone)
	if known, err := s.SummaryKnown(t.Context(), c, phase); !known || err != nil {
		t.Errorf("known %v, %v; want it given up", known, err)
	}
	if got := get(t, s, c).Summary; got != nil {
		t.Errorf("summary %+v of what nobody wrote", got)
	}
}

// Who acts shows what was said when a person was asked; what has ended needs a new one.
func TestUnsummarized(t *testing.T) { testUnsummarized(t, openTest) }

func testUnsummarized(t *testing.T, empty opener) {
	s := empty(t)
	id, other := opened(t, s, "a"), opened(t, s, "b")
	list := func(want ...string) {
		t.Helper()
		if ids, err := s.Unsummarized(t.Context(), time.Now().Add(-time.Minute)); err != nil || !slices.Equal(ids, want) {
			t.Errorf("Unsummarized = %v, %v; want %v", ids, err, want)
		}
	}
	list()
	record(t, s, id, "1", Change{To: incident.Diagnosing})
	record(t, s, id, "2", Change{To: incident.Planned})
	record(t, s, id, "3", Change{To: incident.AwaitingApproval})
	list(id)
	asked := incident.Summary{By: "m"}
	if err := s.KeepSummary(t.Context(), id, incident.AwaitingApproval, "model", &asked); err != nil {
		t.Fatal(err)
	}
	list()
	record(t, s, id, "4", Change{To: incident.Executing})
	if got := get(t, s, id).Summary; got == nil {
		t.Error("no summary while it acts")
	}
	record(t, s, id, "5", Change{To: incident.Escalated, Outcome: incident.Failed})
	if got := get(t, s, id).Summary; got != nil {
		t.Errorf("summary %+v of before the end", got)
	}
	record(t, s, other, "1", Change{To: incident.Escalated, Outcome: incident.NoTarget, Event: incident.Event{At: time.Now().Add(-time.Hour)}})
	list(id)
	if err := s.KeepSummary(t.Context(), id, incident.Escalated, "broken", nil); err != nil {
		t.Fatal(err)
	}
	list()
}

// What all replicas take of models in an hour is one sum.
func TestModelCalls(t *testing.T) { testModelCalls(t, openTest) }

func testModelCalls(t *testing.T, empty opener) {
	s := empty(t)
	over := errors.New("over")
	spend := func(now time.Time, tokens int, cost float64) (id int64, sum ModelSpending, refused bool) {
		t.Helper()
		id, why, err := s.SpendOnModel(t.Context(), now, tokens, cost, func(all ModelSpending) error {
			if sum = all; all.Tokens > 100 {
				return over
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return id, sum, errors.Is(why, over)
	}
	first, sum, refused := spend(noon, 60, .5)
	if want := (ModelSpending{1, 60, .5}); sum != want || refused {
		t.Errorf("%+v, refused %v; want %+v", sum, refused, want)
	}
	if _, sum, refused = spend(noon.Add(time.Minute), 60, .25); sum.Tokens != 120 || !refused {
		t.Errorf("%+v, refused %v; want it refused", sum, refused)
	}
	if err := s.SpentOnModel(t.Context(), first, 10, .125); err != nil {
		t.Fatal(err)
	}
	if _, sum, refused = spend(noon.Add(time.Minute), 60, .25); sum != (ModelSpending{2, 70, .375}) || refused {
		t.Errorf("%+v, refused %v; want what the first one took in fact, and not what was refused", sum, refused)
	}
	if _, sum, _ = spend(noon.Add(time.Hour), 1, 0); sum != (ModelSpending{2, 61, .25}) {
		t.Errorf("%+v; want the first call forgotten after an hour", sum)
	}
}
