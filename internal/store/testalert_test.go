package store

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/kmend/kmend/incident"
)

// What a test alert opened can be brought to no act: neither by the flow nor past it.
func TestTestAlert(t *testing.T) { testTestAlert(t, openTest) }

func testTestAlert(t *testing.T, empty opener) {
	s := empty(t)
	silent := seed(alert("f1", incident.Firing, noon))
	silent.Test = true
	got := ingest(t, s, silent)
	record(t, s, got.ID, "diagnosing", Change{To: incident.Diagnosing, Event: incident.Event{Kind: "measuring"}})
	plan := examplePlan()
	record(t, s, got.ID, "planned", Change{To: incident.Planned, Plan: &plan, Event: incident.Event{Kind: "planned"}})
	for _, to := range []incident.Phase{incident.AwaitingApproval, incident.Executing} {
		if _, err := s.Record(t.Context(), got.ID, "on "+string(to), Change{To: to}); !errors.Is(err, ErrTest) || !Refused(err) {
			t.Errorf("to %s: %v", to, err)
		}
	}
	if _, err := s.Record(t.Context(), got.ID, "acted", Change{Act: Apply, Execution: &incident.Execution{Result: "applied"}}); !errors.Is(err, ErrTest) {
		t.Errorf("an execution: %v", err)
	}
	past := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE incidents SET phase = 'executing' WHERE id = ?`, got.ID)
		return err
	})
	if past == nil {
		t.Error("the database lets it execute")
	}
	p := get(t, s, got.ID)
	if !p.Test || p.TestPosted || p.Phase != incident.Planned {
		t.Errorf("%+v", p.Incident)
	}

	other := func(key string) Seed {
		x := seed(alert(key, incident.Firing, noon))
		x.DedupKey, x.Test, x.TestPosted = key, true, true
		return x
	}
	if x := ingest(t, s, other("k2")); !get(t, s, x.ID).TestPosted {
		t.Error("that it is posted is not kept")
	}
	ingest(t, s, other("k3"))
	if _, err := s.Ingest(t.Context(), []Seed{other("k4")}, 100); !errors.Is(err, ErrTests) {
		t.Errorf("a fourth at the same time: %v", err)
	}
	real := seed(alert("f2", incident.Firing, noon))
	real.DedupKey = "real"
	if x := ingest(t, s, real); !x.New || get(t, s, x.ID).Test {
		t.Errorf("an alert beside them: %+v", x)
	}
	record(t, s, got.ID, KeyClosed, Change{To: incident.Escalated, Outcome: incident.DryRun, Event: incident.Event{Kind: KindClosed}})
	if x := ingest(t, s, other("k4")); !x.New {
		t.Errorf("after the end of one: %+v", x)
	}
}
