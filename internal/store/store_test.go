package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kmend/kmend/incident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "deep", "er", "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openIDs are the ids of all open incidents, oldest first.
func openIDs(ctx context.Context, s *Store) (ids []string, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT id FROM incidents WHERE closed_at IS NULL ORDER BY id`)
		return err
	})
	return ids, err
}

func alert(fingerprint string, status incident.AlertStatus, startsAt time.Time) incident.Alert {
	return incident.Alert{Fingerprint: fingerprint, Status: status, StartsAt: startsAt, Labels: map[string]string{"alertname": "A" + fingerprint}}
}

func seed(alerts ...incident.Alert) Seed {
	return Seed{DedupKey: "group\ncgroup|||/a", Target: incident.Target{Cgroup: "/a"}, Alerts: alerts, Source: "alertmanager/kmend"}
}

func ingest(t *testing.T, s *Store, seeds ...Seed) Ingested {
	t.Helper()
	got, err := s.Ingest(t.Context(), seeds, 100)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func record(t *testing.T, s *Store, id, key string, c Change) {
	t.Helper()
	fresh, err := s.Record(t.Context(), id, key, c)
	if err != nil || !fresh {
		t.Fatalf("Record(%s) = %v, %v", key, fresh, err)
	}
}

func get(t *testing.T, s *Store, id string) Progress {
	t.Helper()
	p, err := s.Progress(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func examplePlan() incident.Plan {
	return incident.Plan{Runbook: "raise", Cause: incident.CPUThrottled, Target: incident.Target{Cgroup: "/a", Node: "n"}, Undo: incident.UndoAutomatic,
		Verify: incident.Verify{Settle: incident.Duration(time.Second), Improve: 0.5}, Evidence: []string{"e1"}, Created: noon,
		Steps: []incident.Step{{Name: "s", Action: "cgroup.set_cpu_quota", With: map[string]any{"factor": 2, "max": "4", "share": 0.1, "deep": map[string]any{"list": []any{1, "x"}}},
			Preview: &incident.Preview{Summary: "raise it", Before: "0.3", After: "0.6", Preconditions: map[string]string{"uid": "u"}}}}}
}

// TestRoundTrip: everything that is saved is read as it was.
func TestRoundTrip(t *testing.T) { testRoundTrip(t, openTest) }

func testRoundTrip(t *testing.T, empty opener) {
	s := empty(t)
	a := incident.Alert{Fingerprint: "f1", Status: incident.Firing, StartsAt: noon, GeneratorURL: "http://p/", Labels: map[string]string{"alertname": "x\n\"'; DROP TABLE incidents; --"}, Annotations: map[string]string{"summary": "ü\x00"}}
	target := incident.Target{Cluster: "c", Node: "n", Namespace: "ns", Pod: "p", PodUID: "u", Container: "co", ContainerID: "ci"}
	id := ingest(t, s, Seed{DedupKey: "k", Target: target, Alerts: []incident.Alert{a}, Source: "alertmanager/r"}).ID
	d := incident.Diagnosis{APIVersion: incident.APIVersion, Kind: "Diagnosis", Target: target, Verdict: incident.Confirmed, Window: incident.Window{Start: noon, Seconds: 3},
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: 0.43, Message: "m", Evidence: []string{"e1"}}},
		Evidence: []incident.Evidence{{ID: "e1", Value: 1299, Unit: "ms"}}, Ledger: incident.Ledger{Threads: 4, WallMS: 12000, States: map[incident.State]float64{incident.OnCPU: 1.5}}}
	plan := examplePlan()
	decision := incident.Decision{Effect: incident.Allow, Policy: "p", Rule: "r", Reason: "why"}
	done := incident.Execution{Step: 0, Action: "a", Before: "1", After: "2", Result: "applied", State: map[string]string{"quota": "30000"}, Started: noon, Ended: noon.Add(time.Second)}
	undone := incident.Execution{Step: 0, Action: "a", Before: "2", After: "1", Result: "undone", Started: noon, Ended: noon.Add(time.Second)}
	v := incident.Verification{Cause: incident.CPUThrottled, Before: 0.43, After: 0.01, Better: true, Reason: "better", Diagnosis: d}
	deadline := noon.Add(15 * time.Minute)

	record(t, s, id, "1", Change{To: incident.Diagnosing, Event: incident.Event{At: noon, Kind: "measuring", Message: "m", Fields: map[string]string{"a": "b"}}})
	record(t, s, id, "2", Change{Diagnosis: &d})
	record(t, s, id, "3", Change{To: incident.Planned, Plan: &plan})
	record(t, s, id, "4", Change{Decision: &decision, AnswerBy: deadline})
	record(t, s, id, "5", Change{Decision: &decision})
	record(t, s, id, "6", Change{To: incident.Executing})
	record(t, s, id, "7", Change{Act: Apply, Execution: &done})
	record(t, s, id, "8", Change{To: incident.Verifying, Verification: &v})
	record(t, s, id, "9", Change{Act: Undo, Execution: &undone})
	record(t, s, id, "10", Change{To: incident.Escalated, Outcome: incident.Undone, Reason: "because"})

	p := get(t, s, id)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"alerts", p.Alerts, []incident.Alert{a}}, {"target", p.Target, target}, {"diagnosis", *p.Diagnosis, d},
		{"decisions", p.Decisions, []incident.Decision{decision, decision}}, {"executions", p.Executions, []incident.Execution{done, undone}},
		{"verification", *p.Verification, v}, {"answer by", p.AnswerBy, deadline}, {"applied", p.Applied[0], done}, {"undone", p.Undone[0], undone},
		{"digest", p.Plan.Digest(), plan.Digest()}, {"created", p.Plan.Created, plan.Created}, {"dedup key", p.DedupKey, "k"},
		{"outcome", p.Outcome, incident.Undone}, {"reason", p.Reason, "because"}, {"phase", p.Phase, incident.Escalated},
		{"event", p.Timeline[1], incident.Event{Seq: 2, At: noon, Phase: incident.Diagnosing, Kind: "measuring", Message: "m", Fields: map[string]string{"a": "b"}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.what, c.got, c.want)
		}
	}
	if len(p.Timeline) != 11 || p.ClosedAt.IsZero() || p.ReceivedAt.IsZero() {
		t.Errorf("%d lines, closed %s, received %s", len(p.Timeline), p.ClosedAt, p.ReceivedAt)
	}
}

func TestRecord(t *testing.T) { testRecord(t, openTest) }

func testRecord(t *testing.T, empty opener) {
	s := empty(t)
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	plan := examplePlan()
	for _, tt := range []struct {
		key   string
		c     Change
		fresh bool
		want  error
	}{
		{"acting", Change{To: incident.Executing}, false, ErrPhase}, // received cannot go there
		{"diagnosing", Change{To: incident.Diagnosing}, true, nil},
		{"diagnosing", Change{To: incident.Diagnosing}, false, nil}, // again: nothing
		{"diagnosing", Change{To: incident.Verifying}, false, nil},  // the key counts
		{"closed", Change{To: incident.Escalated, Outcome: incident.OutcomeClean}, true, nil},
		{"planned", Change{Plan: &plan}, false, ErrClosed},
		{"closed again", Change{To: incident.Escalated}, false, ErrClosed},
		{"note", Change{Event: incident.Event{Kind: "notified"}}, true, nil}, // lines go on
	} {
		fresh, err := s.Record(t.Context(), id, tt.key, tt.c)
		if fresh != tt.fresh || !errors.Is(err, tt.want) {
			t.Errorf("Record(%s) = %v, %v; want %v, %v", tt.key, fresh, err, tt.fresh, tt.want)
		}
	}
	if _, err := s.Record(t.Context(), "nothing", "k", Change{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Record of no incident: %v", err)
	}
	p := get(t, s, id)
	if p.Phase != incident.Escalated || p.Plan != nil || len(p.Timeline) != 4 {
		t.Errorf("phase %s, plan %v, timeline %+v", p.Phase, p.Plan, p.Timeline)
	}
}

// Every phase machine step, against the database: what Phase.To forbids, the
// transaction refuses, and nothing of the change stays.
func TestPhasesAreChecked(t *testing.T) { testPhasesAreChecked(t, openTest) }

func testPhasesAreChecked(t *testing.T, empty opener) {
	s := empty(t)
	way := map[incident.Phase][]incident.Phase{
		incident.Received: {}, incident.Diagnosing: {incident.Diagnosing}, incident.Planned: {incident.Diagnosing, incident.Planned},
		incident.AwaitingApproval: {incident.Diagnosing, incident.Planned, incident.AwaitingApproval},
		incident.Executing:        {incident.Diagnosing, incident.Planned, incident.Executing},
		incident.Verifying:        {incident.Diagnosing, incident.Planned, incident.Executing, incident.Verifying},
	}
	n := 0
	for from, steps := range way {
		for _, to := range incident.Phases() {
			n++
			id := ingest(t, s, Seed{DedupKey: fmt.Sprint(n), Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
			for _, step := range steps {
				record(t, s, id, string(step), Change{To: step})
			}
			_, err := s.Record(t.Context(), id, "try", Change{To: to, Reason: "tried"})
			if allowed := from.To(to) == nil; allowed != (err == nil) || !allowed && !errors.Is(err, ErrPhase) {
				t.Errorf("%s -> %s: %v", from, to, err)
			}
			if p := get(t, s, id); err != nil && (p.Phase != from || p.Reason != "" || len(p.Timeline) != len(steps)+1) {
				t.Errorf("%s -> %s was refused and left %s, %q, %d lines", from, to, p.Phase, p.Reason, len(p.Timeline))
			}
		}
	}
}

func TestList(t *testing.T) { testList(t, openTest) }

func testList(t *testing.T, empty opener) {
	s := empty(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, ingest(t, s, Seed{DedupKey: fmt.Sprint(i), Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID)
		time.Sleep(2 * time.Millisecond) // ids sort by the millisecond
	}
	record(t, s, ids[0], "d", Change{To: incident.Diagnosing})
	record(t, s, ids[4], "c", Change{To: incident.Escalated, Outcome: incident.Failed})
	for _, tt := range []struct {
		f    Filter
		want []int
	}{
		{Filter{}, []int{4, 3, 2, 1, 0}}, {Filter{Open: true}, []int{3, 2, 1, 0}}, {Filter{Limit: 2}, []int{4, 3}},
		{Filter{Before: ids[2]}, []int{1, 0}}, {Filter{Before: ids[2], Limit: 1}, []int{1}},
		{Filter{Phase: incident.Diagnosing}, []int{0}}, {Filter{Phase: incident.Escalated, Open: true}, nil},
	} {
		list, err := s.List(t.Context(), tt.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, inc := range list {
			got = append(got, slices.Index(ids, inc.ID))
			if len(inc.Timeline) == 0 {
				t.Errorf("incident %s has no timeline", inc.ID)
			}
		}
		if !slices.Equal(got, tt.want) || list == nil {
			t.Errorf("List(%+v) = %v, want %v", tt.f, got, tt.want)
		}
	}
	open, err := openIDs(t.Context(), s)
	if err != nil || !slices.Equal(open, ids[:4]) {
		t.Errorf("open: %v, %v", open, err)
	}
	if _, err := s.Get(t.Context(), "nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
}

func TestApprove(t *testing.T) { testApprove(t, openTest) }

func testApprove(t *testing.T, empty opener) {
	s := empty(t)
	plan := examplePlan()
	waiting := func(key string, until time.Time) string {
		id := ingest(t, s, Seed{DedupKey: key, Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
		record(t, s, id, "d", Change{To: incident.Diagnosing})
		record(t, s, id, "p", Change{To: incident.Planned, Plan: &plan})
		if !until.IsZero() {
			record(t, s, id, "a", Change{To: incident.AwaitingApproval, AnswerBy: until})
		}
		return id
	}
	later := time.Now().Add(time.Hour)
	ok, early, late, gaveUp := waiting("1", later), waiting("2", time.Time{}), waiting("3", time.Now()), waiting("4", later)
	if err := s.Append(t.Context(), gaveUp, KeyAnswer, incident.Event{Kind: "expired"}); err != nil {
		t.Fatal(err)
	}
	yes := func(id, digest string) incident.Approval {
		return incident.Approval{Incident: id, Plan: digest, Approve: true, By: "ada"}
	}
	for _, tt := range []struct {
		a    incident.Approval
		want error
	}{
		{yes("nothing", plan.Digest()), ErrNotFound}, {yes(early, plan.Digest()), ErrNotAwaiting}, {yes(late, plan.Digest()), ErrExpired},
		{yes(gaveUp, plan.Digest()), ErrExpired}, {yes(ok, "another"), ErrPlanChanged}, {yes(ok, plan.Digest()), nil}, {yes(ok, plan.Digest()), ErrAnswered},
	} {
		if err := s.Approve(t.Context(), tt.a, 1); !errors.Is(err, tt.want) {
			t.Errorf("Approve(%+v) = %v, want %v", tt.a, err, tt.want)
		}
	}
	if p := get(t, s, ok); p.Approval == nil || p.Approval.By != "ada" || time.Since(p.Approval.At) > time.Minute || p.Keys[KeyAnswer].Kind != "approved" {
		t.Errorf("approval %+v, %+v", p.Approval, p.Keys[KeyAnswer])
	}
	if p := get(t, s, gaveUp); p.Approval != nil {
		t.Errorf("a late answer was kept: %+v", p.Approval)
	}
}

func TestClaim(t *testing.T) { testClaim(t, openTest) }

func testClaim(t *testing.T, empty opener) {
	s := empty(t)
	a := ingest(t, s, Seed{DedupKey: "a", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	b := ingest(t, s, Seed{DedupKey: "b", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	claim := func(id string, things ...string) string {
		t.Helper()
		holder, err := s.Claim(t.Context(), id, things)
		if err != nil {
			t.Fatal(err)
		}
		return holder
	}
	for _, tt := range []struct{ got, want string }{
		{claim(a, "x", "y"), ""}, {claim(a, "x", "y"), ""}, {claim(b, "z", "y"), a}, {claim(a, "z"), ""}, // b got nothing, not even z
	} {
		if tt.got != tt.want {
			t.Errorf("holder %q, want %q", tt.got, tt.want)
		}
	}
	record(t, s, a, KeyClosed, Change{To: incident.Escalated, Outcome: incident.Failed})
	if h := claim(b, "x", "y", "z"); h != "" {
		t.Errorf("%s holds what it gave back", h)
	}
	if _, err := s.Claim(t.Context(), a, []string{"q"}); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed incident claims: %v", err)
	}
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second Open: %v", err)
	}
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), id, "k", incident.Event{}); !errors.Is(err, ErrStopped) {
		t.Errorf("a write after Close: %v", err)
	}
	if s, err = Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p := get(t, s, id); p.Phase != incident.Received {
		t.Errorf("after opening again: %+v", p)
	}
}

// Concurrent calls share commits, and one that is refused takes nothing of the
// others with it.
func TestGroupCommit(t *testing.T) {
	s := openTest(t)
	before := commits(t, s)
	const n = 200
	var wg sync.WaitGroup
	release := make(chan struct{})
	go func() { // hold the writer until all wait for it
		_ = s.write.do(context.WithoutCancel(t.Context()), waitFor(release))
	}()
	time.Sleep(10 * time.Millisecond)
	for i := range n {
		wg.Go(func() {
			limit := 1000
			if i%10 == 0 {
				limit = 0
			}
			_, err := s.Ingest(t.Context(), []Seed{{DedupKey: fmt.Sprint(i), Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}}, limit)
			if refused := errors.Is(err, ErrFull); refused != (i%10 == 0) || !refused && err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	close(release)
	wg.Wait()
	ids, err := openIDs(t.Context(), s)
	if err != nil || len(ids) != n-n/10 {
		t.Fatalf("%d incidents, %v; want %d", len(ids), err, n-n/10)
	}
	if got := commits(t, s) - before; got > 20 {
		t.Errorf("%d calls took %d commits", n, got)
	}
}

func TestFilesArePrivate(t *testing.T) {
	s := openTest(t)
	for _, f := range []string{filepath.Dir(s.path), s.path, s.path + "-wal", s.path + ".lock"} {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", f, st.Mode())
		}
	}
}

// An older kmend does not touch what a newer one wrote.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend.db")
	testNewerSchema(t, func() (*Store, error) { return Open(t.Context(), path) })
}

func testNewerSchema(t *testing.T, open func() (*Store, error)) {
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	err = s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) SELECT 9999, is_applied FROM goose_db_version WHERE version_id = 1`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = open()
	if err == nil {
		s.Close()
		t.Fatal("it is opened")
	}
	for _, want := range []string{"the schema has version 9999", "a newer kmend wrote it", "start that one"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
