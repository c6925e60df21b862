package respond

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

func TestOptions(t *testing.T) {
	d := &stages{}
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Guard = nil }, "Guard must be set"},
		{func(o *Options) { o.Window = 0 }, "Window is 0s and must be more than 0"},
		{func(o *Options) { o.QueueLimit = 0 }, "QueueLimit is 0 and must be at least 1"},
		{func(o *Options) { o.ActDeadline = -time.Second }, "ActDeadline is -1s"},
		{func(o *Options) { o.ExecutorID = "" }, "ExecutorID must be set"},
	} {
		o := options(&store.Store{}, d)
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New() = %v, want %q", err, tt.want)
		}
	}
	t.Setenv("DBOS__VMID", "x")
	if _, err := New(options(&store.Store{}, d)); err == nil || !strings.Contains(err.Error(), "DBOS__VMID") {
		t.Errorf("New() with DBOS__VMID = %v", err)
	}
}

// Stop leaves no goroutine, waits for a change that is being made, and leaves
// everything else for the next start.
func TestStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	acting, stopped := make(chan struct{}), make(chan struct{})
	d := &stages{apply: func(ctx context.Context, _ incident.Plan, i int) (incident.Execution, error) {
		if i == 0 {
			close(acting)
			time.Sleep(100 * time.Millisecond)
			return incident.Execution{Result: "applied"}, ctx.Err()
		}
		return incident.Execution{Result: "applied"}, nil
	}}
	o := options(s, d)
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ingest(t.Context(), firing("/a")); err != nil { // before Start: committed, and taken up by it
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	<-acting
	go func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	<-stopped
	if err := r.Ingest(context.Background(), firing("/b")); !errors.Is(err, ErrStopped) {
		t.Errorf("Ingest after Stop: %v", err)
	}
	list, err := s.List(context.Background(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if inc := list[0]; inc.Phase != incident.Executing || len(inc.Executions) != 1 || inc.Executions[0].Result != "applied" {
		t.Errorf("after Stop: phase %s, executions %+v", inc.Phase, inc.Executions)
	}

	// Another process takes it up where this one stopped.
	b := startOn(t, s, &stages{})
	inc := b.reported()
	checkTimeline(t, inc)
	if got := strings.Join(b.d.notes(), ","); inc.Outcome != incident.Fixed || strings.Contains(got, "apply 0") || !strings.Contains(got, "apply 1") {
		t.Errorf("outcome %s after the restart, which asked %s", inc.Outcome, got)
	}
	b.stop()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A workflow whose end was recorded while its incident is open (the disk was
// full in the middle of it, say) is given a new run by the sweeper.
func TestSweeperTakesUpAStrandedIncident(t *testing.T) {
	t.Parallel()
	d := &stages{}
	b := start(t, d)
	var id string
	{ // its workflow finds the incident occupied and ends at once
		seeds := b.split(firing("/a"))
		got, err := b.store.Ingest(t.Context(), seeds, 10)
		if err != nil {
			t.Fatal(err)
		}
		id = got[0].ID
		if !b.running.enter(id) {
			t.Fatal("occupied")
		}
		if err := b.Responder.run(id, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		b.running.leave(id)
	}
	inc := b.reported()
	if inc.Outcome != incident.Fixed || inc.ID != id {
		t.Errorf("outcome %s", inc.Outcome)
	}
}

// An alert that resolves before the workflow of its incident is started (kmend was
// killed, or takes alerts in and has not started) ends the incident, and that is told.
func TestClosedBeforeItBegan(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d := &stages{}
	early, err := New(options(s, d))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []incident.Notification{firing("/a"), resolvedOf(firing("/a"))} {
		if err := early.Ingest(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	b := startOn(t, s, d)
	if inc := b.reported(); inc.Outcome != incident.Superseded {
		t.Errorf("outcome %s", inc.Outcome)
	}
	if ids, err := s.Unattended(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("unattended when all is told: %q, %v", ids, err)
	}
}

// An incident in the middle of which kmend was away for too long is not gone on
// with, one that waits for a person is.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d := &stages{decide: askPerson}
	b := startOn(t, s, d)
	b.ingest(firing("/a"))
	waiting := b.awaiting()
	b.stop()

	soon := func(o *Options) { o.ActDeadline = time.Nanosecond }
	b = startOn(t, s, &stages{decide: askPerson}, soon)
	time.Sleep(100 * time.Millisecond)
	if inc := b.only(); inc.Phase != incident.AwaitingApproval {
		t.Fatalf("phase %s, outcome %s (%s)", inc.Phase, inc.Outcome, inc.Reason)
	}
	b.stop()

	// The answer comes, and kmend is away before it acts on it.
	if err := s.Approve(t.Context(), incident.Approval{Incident: waiting.ID, Plan: waiting.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}, 1); err != nil {
		t.Fatal(err)
	}
	late := &stages{decide: askPerson}
	b = startOn(t, s, late, soon)
	inc := b.reported()
	if inc.Outcome != incident.Interrupted || len(inc.Executions) > 0 || strings.Contains(strings.Join(late.notes(), ","), "apply") {
		t.Errorf("outcome %s (%s)", inc.Outcome, inc.Reason)
	}
}

// What has waited for longer than the deadline, and saw kmend away for a moment
// only, goes on.
func TestShortRestartOfALongWait(t *testing.T) {
	t.Parallel()
	const deadline = 2 * time.Second
	for _, beats := range []bool{true, false} {
		s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		begun := make(chan struct{})
		b := startOn(t, s, &stages{diagnose: func(ctx context.Context, _ incident.Target, _ time.Duration) (incident.Diagnosis, error) {
			close(begun)
			<-ctx.Done()
			return incident.Diagnosis{}, ctx.Err()
		}}, func(o *Options) {
			o.ActDeadline, o.SweepInterval = deadline, 50*time.Millisecond
			if !beats {
				o.SweepInterval = time.Hour
			}
		})
		b.ingest(firing("/a"))
		<-begun
		time.Sleep(deadline + deadline/4)
		b.stop()
		b = startOn(t, s, &stages{}, func(o *Options) { o.ActDeadline = deadline })
		want := incident.Fixed
		if !beats {
			want = incident.Interrupted
		}
		if inc := b.reported(); inc.Outcome != want {
			t.Errorf("with a heartbeat %v: outcome %s (%s), want %s", beats, inc.Outcome, inc.Reason, want)
		}
	}
}

// kmend stopped after the report was written down and before the end was: what
// comes back ends it, and asks neither the guards nor an action.
func TestAReportIsTakenUpAfterAStop(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{})
	plan := incident.Plan{Runbook: "ask-somebody", Cause: incident.CPUThrottled, Steps: []incident.Step{}, Report: "Ask."}
	e, err := b.plan(t.Context(), store.Progress{Incident: incident.Incident{ID: "i1", Phase: incident.Planned, Plan: &plan}})
	if err != nil || e.Outcome != incident.Reported || len(b.d.notes()) > 0 {
		t.Errorf("end %+v, %v; asked %q", e, err, b.d.notes())
	}
	plan.Steps, plan.Report = []incident.Step{{Name: "act", Action: "double.act"}}, ""
	if e, err = b.plan(t.Context(), store.Progress{Incident: incident.Incident{ID: "i1", Phase: incident.Planned, Plan: &plan}}); err != nil || e.over() {
		t.Errorf("a plan with steps ends with %+v, %v", e, err)
	}
}
