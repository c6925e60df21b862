package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kmend/kmend/incident"
)

// TestDeliveries feeds one target's deliveries in order and looks at what each becomes.
func TestDeliveries(t *testing.T) { testDeliveries(t, openTest) }

func testDeliveries(t *testing.T, empty opener) {
	f, r := incident.Firing, incident.Resolved
	later := noon.Add(time.Hour)
	type step struct {
		alerts  []incident.Alert
		partial bool
		closed  bool // the workflow closes the open incident first
		acted   bool // the workflow begins to act first
		want    Ingested
		same    int // index of the step whose incident it goes to; -1: none
	}
	for name, steps := range map[string][]step{
		"repeated": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon)}, same: 0},
		},
		"repeated after the end": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon)}, closed: true, want: Ingested{Known: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{Known: true}, same: 0},
		},
		"start moved back by a merge": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon.Add(-time.Second))}, closed: true, want: Ingested{Known: true}, same: 0},
		},
		"a new firing after the end": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, later)}, closed: true, want: Ingested{New: true}, same: 1},
			{alerts: []incident.Alert{alert("1", f, noon)}, closed: true, want: Ingested{Known: true}, same: 0}, // a retry of the first
		},
		"one more alert after the end": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon), alert("2", f, noon)}, closed: true, want: Ingested{New: true}, same: 1},
			{alerts: []incident.Alert{alert("1", f, noon), alert("2", f, noon)}, closed: true, want: Ingested{Known: true}, same: 1},
		},
		"one more alert while open is known after the end": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon), alert("2", f, noon)}, same: 0},
			{alerts: []incident.Alert{alert("2", f, noon)}, closed: true, want: Ingested{Known: true}, same: 0},
		},
		"resolved in time": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon)}, want: Ingested{Superseded: true}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon)}, same: 0},                              // from the other Alertmanager
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{Known: true}, same: 0}, // a retry that was slow
		},
		"resolved too late": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon)}, acted: true, same: 0},
		},
		"a new firing while kmend acts": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, later)}, acted: true, same: 0},
			{alerts: []incident.Alert{alert("1", f, later)}, closed: true, same: 2}, // of the episode that the end opened
			{alerts: []incident.Alert{alert("1", f, noon)}, closed: true, want: Ingested{Known: true}, same: 0},
		},
		"resolved of an earlier firing": {
			{alerts: []incident.Alert{alert("1", f, later)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{ended(noon, later.Add(-time.Minute))}, same: 0},
		},
		"resolved with its start moved back by a merge": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{ended(noon.Add(-time.Second), later)}, want: Ingested{Superseded: true}, same: 0},
		},
		"start moved back by a merge while open": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", f, noon.Add(-time.Second))}, same: 0},
			{alerts: []incident.Alert{ended(noon.Add(-time.Second), later)}, want: Ingested{Superseded: true}, same: 0},
		},
		"one of two resolved": {
			{alerts: []incident.Alert{alert("1", f, noon), alert("2", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon)}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon), alert("2", r, noon)}, want: Ingested{Superseded: true}, same: 0},
		},
		"one of two left, then the other resolved": {
			{alerts: []incident.Alert{alert("1", f, noon), alert("2", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("2", f, noon)}, same: 0},
			{alerts: []incident.Alert{alert("2", r, noon)}, want: Ingested{Superseded: true}, same: 0},
		},
		"resolved with alerts left out": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("1", r, noon)}, partial: true, same: 0},
		},
		"resolved of nothing": {
			{alerts: []incident.Alert{alert("1", r, noon)}, same: -1},
		},
		"resolved of something else": {
			{alerts: []incident.Alert{alert("1", f, noon)}, want: Ingested{New: true}, same: 0},
			{alerts: []incident.Alert{alert("2", r, noon)}, same: 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := empty(t)
			var ids []string
			for i, st := range steps {
				if st.closed && i > 0 {
					if _, err := s.Record(t.Context(), ids[i-1], "closed by the workflow", Change{To: incident.Escalated, Outcome: incident.Failed}); err != nil && !errors.Is(err, ErrClosed) {
						t.Fatal(err)
					}
				}
				if st.acted {
					for _, p := range []incident.Phase{incident.Diagnosing, incident.Planned, incident.Executing} {
						record(t, s, ids[i-1], string(p), Change{To: p})
					}
				}
				sd := seed(st.alerts...)
				if st.partial {
					sd.LeftOut = 2
				}
				got := ingest(t, s, sd)
				ids = append(ids, got.ID)
				want := st.want
				if st.same >= 0 {
					want.ID = ids[st.same]
				}
				if got != want {
					t.Fatalf("delivery %d: %+v, want %+v", i, got, want)
				}
				if got.New && st.same != i {
					t.Fatalf("delivery %d opened an incident", i)
				}
			}
		})
	}
}

func ended(startsAt, endsAt time.Time) incident.Alert {
	a := alert("1", incident.Resolved, startsAt)
	a.EndsAt = endsAt
	return a
}

// An earlier start of a firing is taken over, and nothing else of what came late.
func TestMergeEarlierStart(t *testing.T) {
	early := noon.Add(-time.Second)
	got := merge([]incident.Alert{alert("1", incident.Firing, noon)}, []incident.Alert{alert("1", incident.Firing, early)}, false)
	if len(got) != 1 || got[0].Status != incident.Firing || !got[0].StartsAt.Equal(early) {
		t.Errorf("a firing that started earlier: %+v", got)
	}
	got = merge([]incident.Alert{alert("1", incident.Resolved, noon)}, []incident.Alert{alert("1", incident.Firing, early)}, false)
	if len(got) != 1 || got[0].Status != incident.Resolved {
		t.Errorf("a retry of a firing that has ended: %+v", got)
	}
}

func TestSupersededAndNoted(t *testing.T) { testSupersededAndNoted(t, openTest) }

func testSupersededAndNoted(t *testing.T, empty opener) {
	s := empty(t)
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	for range 3 {
		ingest(t, s, seed(alert("1", incident.Resolved, noon)))
	}
	p := get(t, s, id)
	if p.Outcome != incident.Superseded || p.Phase != incident.ResolvedPhase || p.ClosedAt.IsZero() || p.Deliveries != 4 || len(p.Timeline) != 3 {
		t.Errorf("outcome %s, phase %s, %d deliveries, timeline %+v", p.Outcome, p.Phase, p.Deliveries, p.Timeline)
	}
	if p.Alerts[0].Status != incident.Resolved {
		t.Errorf("alerts %+v", p.Alerts)
	}
}

// Whatever is delivered, in whatever order: one open incident at most, and never
// a second incident for a firing that had one.
func TestOneIncidentAFiring(t *testing.T) { testOneIncidentAFiring(t, openTest) }

func testOneIncidentAFiring(t *testing.T, empty opener) {
	s, run := empty(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		opened := map[time.Time]string{} // by start of the firing
		end := func(ids []string) {
			for _, id := range ids {
				record(t, s, id, "end", Change{To: incident.Escalated, Outcome: incident.Failed})
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "deliveries") {
			start := noon.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "firing")) * time.Hour)
			status := rapid.SampledFrom([]incident.AlertStatus{incident.Firing, incident.Resolved}).Draw(rt, "status")
			about := seed(alert("1", status, start))
			about.DedupKey = fmt.Sprint(run)
			got := ingest(t, s, about)
			if got.New {
				if before, twice := opened[start]; twice {
					rt.Fatalf("firing of %s opened %s and %s", start, before, got.ID)
				}
				opened[start] = got.ID
			}
			open, err := openIDs(t.Context(), s)
			if err != nil || len(open) > 1 {
				rt.Fatalf("open: %v, %v", open, err)
			}
			if rapid.Bool().Draw(rt, "close") {
				end(open)
			}
		}
		open, err := openIDs(t.Context(), s)
		if err != nil {
			rt.Fatal(err)
		}
		end(open)
	})
}

func TestConcurrentDeliveries(t *testing.T) { testConcurrentDeliveries(t, openTest) }

func testConcurrentDeliveries(t *testing.T, empty opener) {
	s := empty(t)
	var wg sync.WaitGroup
	fresh := make(chan string, 64)
	for range 32 {
		wg.Go(func() {
			for range 8 {
				got, err := s.Ingest(t.Context(), []Seed{seed(alert("1", incident.Firing, noon))}, 10)
				if err != nil {
					t.Error(err)
					return
				}
				if got[0].New {
					fresh <- got[0].ID
				}
			}
		})
	}
	wg.Wait()
	if len(fresh) != 1 {
		t.Fatalf("%d incidents were opened", len(fresh))
	}
	if p := get(t, s, <-fresh); p.Deliveries != 32*8 || len(p.Timeline) != 1 {
		t.Errorf("%d deliveries, timeline %+v", p.Deliveries, p.Timeline)
	}
}

// TestLimit: the limit counts what was open before a notification, so one about
// many targets gets in; when it is reached, what concerns the open ones does.
func TestLimit(t *testing.T) { testLimit(t, openTest) }

func testLimit(t *testing.T, empty opener) {
	s := empty(t)
	named := func(key string, a incident.Alert) Seed { return Seed{DedupKey: key, Alerts: []incident.Alert{a}} }
	fires := alert("1", incident.Firing, noon)
	three := []Seed{named("a", fires), named("b", fires), named("c", fires)}
	if _, err := s.Ingest(t.Context(), three, 2); err != nil {
		t.Fatalf("three targets at once where two may be open: %v", err)
	}
	mixed := []Seed{named("d", fires), named("a", alert("1", incident.Resolved, noon)), named("b", fires)}
	for try := range 2 { // the sender tries again
		got, err := s.Ingest(t.Context(), mixed, 2)
		if try == 0 {
			if !errors.Is(err, ErrFull) || len(got) != 3 || !got[0].Refused || got[0].ID != "" || !got[1].Superseded || got[2].ID == "" {
				t.Errorf("with three of two open: %+v, %v", got, err)
			}
			if p := get(t, s, got[1].ID); p.Outcome != incident.Superseded {
				t.Errorf("the resolved one is %q", p.Outcome)
			}
			continue
		}
		if !errors.Is(err, ErrFull) || got[1].Superseded {
			t.Errorf("again: %+v, %v", got, err)
		}
		if p := get(t, s, got[2].ID); len(p.Timeline) != 1 || p.Deliveries != 3 {
			t.Errorf("after a retry: %d deliveries, timeline %+v", p.Deliveries, p.Timeline)
		}
	}
	if got, err := s.Ingest(t.Context(), mixed, 3); err != nil || !got[0].New {
		t.Errorf("with room again: %+v, %v", got, err)
	}
}

func TestDescribe(t *testing.T) {
	var many []incident.Alert
	for i := range 10 {
		many = append(many, alert(fmt.Sprint(i), incident.Firing, noon))
	}
	many[0].Labels["alertname"] = "a\n\x1b[31m<!channel>"
	if got, want := describe(many), `firing: "a\n\x1b[31m<!channel>", "A1", "A2", 7 more`; got != want {
		t.Errorf("describe = %s, want %s", got, want)
	}
}
