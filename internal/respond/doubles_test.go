package respond

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// stages are doubles of every stage; a nil func is the happy way.
type stages struct {
	diagnose func(ctx context.Context, t incident.Target, window time.Duration) (incident.Diagnosis, error)
	plan     func(inc incident.Incident) (incident.Plan, bool, string, error)
	decide   func(inc incident.Incident, p incident.Plan) incident.Decision
	paused   func() (string, error)
	preview  func(ctx context.Context, p incident.Plan) (incident.Plan, error)
	apply    func(ctx context.Context, p incident.Plan, step int) (incident.Execution, error)
	undo     func(ctx context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error)
	verify   func(p incident.Plan, before, after incident.Diagnosis) incident.Verification
	notify   func(ctx context.Context, inc incident.Incident) error

	mu  sync.Mutex
	log []string // what was asked, in order
}

func (s *stages) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *stages) notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

func (s *stages) Diagnose(ctx context.Context, t incident.Target, w time.Duration) (incident.Diagnosis, error) {
	s.note("diagnose")
	if s.diagnose != nil {
		return s.diagnose(ctx, t, w)
	}
	return throttled(t), nil
}

func (s *stages) Plan(inc incident.Incident) (incident.Plan, bool, string, error) {
	s.note("plan")
	if s.plan != nil {
		return s.plan(inc)
	}
	return twoSteps(inc), true, "", nil
}

func (s *stages) Paused(context.Context) (string, error) {
	if s.paused != nil {
		return s.paused()
	}
	return "", nil
}

func (s *stages) Decide(_ context.Context, inc incident.Incident, p incident.Plan) incident.Decision {
	s.note("decide")
	if s.decide != nil {
		return s.decide(inc, p)
	}
	return incident.Decision{Effect: incident.Allow, Policy: "test", Reason: "it is a test"}
}

func (s *stages) Preview(ctx context.Context, p incident.Plan) (incident.Plan, error) {
	s.note("preview")
	if s.preview != nil {
		return s.preview(ctx, p)
	}
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		p.Steps[i].Preview = &incident.Preview{Summary: "raise " + p.Steps[i].Name, Before: "0.3 CPU", After: "0.6 CPU", Server: "double"}
	}
	return p, nil
}

func (s *stages) Apply(ctx context.Context, p incident.Plan, step int) (incident.Execution, error) {
	s.note("apply %d", step)
	if s.apply != nil {
		return s.apply(ctx, p, step)
	}
	return incident.Execution{Before: "0.3 CPU", After: "0.6 CPU", Result: "applied", State: map[string]string{"quota": "30000"}}, nil
}

func (s *stages) Undo(ctx context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error) {
	s.note("undo %d", done.Step)
	if s.undo != nil {
		return s.undo(ctx, p, done)
	}
	return incident.Execution{Before: done.After, After: done.Before, Result: "undone"}, nil
}

func (s *stages) Verify(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
	s.note("verify")
	if s.verify != nil {
		return s.verify(p, before, after)
	}
	return incident.Verification{Cause: p.Cause, Before: before.Findings[0].Share, After: 0.01, Better: true, Reason: "throttled 43% before, 1% after", Diagnosis: after}
}

func (s *stages) Notify(ctx context.Context, inc incident.Incident) error {
	s.note("notify %s", inc.Outcome)
	if s.notify != nil {
		return s.notify(ctx, inc)
	}
	return nil
}

// throttled is a confirmed diagnosis of t, measured just now.
func throttled(t incident.Target) incident.Diagnosis {
	if t.Pod == "" {
		t.Node = "node-1"
	}
	return incident.Diagnosis{
		APIVersion: incident.APIVersion, Kind: "Diagnosis", Target: t, Node: incident.Node{Name: "node-1"},
		Window: incident.Window{Start: time.Now().Add(-3 * time.Second), Seconds: 3}, Verdict: incident.Confirmed,
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: 0.43, Message: "CPU throttled 1299 of 3000 ms", Evidence: []string{"e1"}}},
		Evidence: []incident.Evidence{{ID: "e1", Probe: "threads", Metric: "throttled", Value: 1299, Unit: "ms"}},
	}
}

func saying(v incident.Verdict, message string) func(context.Context, incident.Target, time.Duration) (incident.Diagnosis, error) {
	return func(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		return incident.Diagnosis{Target: t, Verdict: v, Findings: []incident.Finding{{Verdict: v, Message: message}}}, nil
	}
}

// twoSteps is a plan of two steps for what was diagnosed.
func twoSteps(inc incident.Incident) incident.Plan {
	return incident.Plan{Runbook: "raise-cpu-limit", Cause: incident.CPUThrottled, Target: inc.Diagnosis.Target, Evidence: []string{"e1"}, Created: time.Now(),
		Steps: []incident.Step{{Name: "first", Action: "double.act", With: map[string]any{"factor": 2}}, {Name: "second", Action: "double.act"}},
		Undo:  incident.UndoAutomatic, Verify: incident.Verify{Settle: incident.Duration(time.Millisecond), Window: incident.Duration(time.Millisecond), Improve: 0.5}}
}

// forAPerson is a plan that is a report, changed in one thing.
func forAPerson(change func(*incident.Plan)) func(incident.Incident) (incident.Plan, bool, string, error) {
	return func(inc incident.Incident) (incident.Plan, bool, string, error) {
		p := incident.Plan{Runbook: "ask-somebody", Cause: incident.CPUThrottled, Target: inc.Diagnosis.Target, Evidence: []string{"e1"},
			Steps: []incident.Step{}, Report: "Ask whoever set the quota."}
		if change != nil {
			change(&p)
		}
		return p, true, "", nil
	}
}

func worse(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
	return incident.Verification{Cause: p.Cause, Before: 0.43, After: 0.44, Reason: "throttled 43% before, 44% after", Diagnosis: after}
}

func askPerson(incident.Incident, incident.Plan) incident.Decision {
	return incident.Decision{Effect: incident.RequireApproval, Policy: "test", Rule: "ask", Reason: "production"}
}

// firing is a notification of one alert about a cgroup.
func firing(cgroup string) incident.Notification {
	return incident.Notification{Source: "alertmanager", Receiver: "kmend", GroupKey: `{}:{alertname="CPUThrottlingHigh"}`, Status: incident.Firing,
		Alerts: []incident.Alert{{Fingerprint: "f" + cgroup, Status: incident.Firing, StartsAt: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
			Labels: map[string]string{"alertname": "CPUThrottlingHigh", "cgroup": cgroup}}}}
}

func resolvedOf(n incident.Notification) incident.Notification {
	n.Status = incident.Resolved
	n.Alerts = slices.Clone(n.Alerts)
	for i := range n.Alerts {
		n.Alerts[i].Status = incident.Resolved
		n.Alerts[i].EndsAt = n.Alerts[i].StartsAt.Add(time.Minute)
	}
	return n
}

func byCgroup(a incident.Alert) (incident.Target, bool, string) {
	if cg := a.Labels["cgroup"]; cg != "" {
		return incident.Target{Cgroup: cg}, true, ""
	}
	return incident.Target{}, false, "the alert has no label cgroup"
}

// options are made for tests: doubles, and short times.
func options(s *store.Store, d *stages) Options {
	o := DefaultOptions()
	o.Store, o.Diagnoser, o.Planner, o.Guard, o.Executor, o.Notifier, o.TargetOf = s, d, d, d, d, d, byCgroup
	o.Logger = slog.New(slog.DiscardHandler)
	o.Window = time.Millisecond
	o.SweepInterval = 100 * time.Millisecond
	return o
}

// bench is a responder at work on a store of its own.
type bench struct {
	*Responder
	t     *testing.T
	store *store.Store
	d     *stages
}

func start(t *testing.T, d *stages, change ...func(*Options)) bench {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return startOn(t, s, d, change...)
}

func startOn(t *testing.T, s *store.Store, d *stages, change ...func(*Options)) bench {
	t.Helper()
	o := options(s, d)
	for _, c := range change {
		c(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := bench{Responder: r, t: t, store: s, d: d}
	t.Cleanup(b.stop)
	return b
}

func (b bench) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		b.t.Error(err)
	}
}

func (b bench) ingest(n incident.Notification) {
	b.t.Helper()
	if err := b.Ingest(b.t.Context(), n); err != nil {
		b.t.Fatal(err)
	}
}

// only is the only incident there is.
func (b bench) only() incident.Incident {
	b.t.Helper()
	list, err := b.store.List(b.t.Context(), store.Filter{})
	if err != nil {
		b.t.Fatal(err)
	}
	if len(list) != 1 {
		b.t.Fatalf("%d incidents, want 1", len(list))
	}
	return list[0]
}

// until waits for the only incident to satisfy ok.
func (b bench) until(what string, ok func(incident.Incident) bool) incident.Incident {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		inc := b.only()
		if ok(inc) {
			return inc
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("not %s after a minute: phase %s, outcome %q, reason %q\n%v", what, inc.Phase, inc.Outcome, inc.Reason, inc.Timeline)
		}
	}
}

// reported waits for the end of the flow.
func (b bench) reported() incident.Incident {
	b.t.Helper()
	return b.until("reported", func(inc incident.Incident) bool {
		return hasKind(inc, "notified") || hasKind(inc, "notify_failed")
	})
}

func (b bench) awaiting() incident.Incident {
	b.t.Helper()
	return b.until("awaiting approval", func(inc incident.Incident) bool { return inc.Phase == incident.AwaitingApproval })
}

func hasKind(inc incident.Incident, kind string) bool {
	return slices.ContainsFunc(inc.Timeline, func(e incident.Event) bool { return e.Kind == kind })
}

func kinds(inc incident.Incident) []string {
	var out []string
	for _, e := range inc.Timeline {
		out = append(out, e.Kind)
	}
	return out
}

// checkTimeline asserts what holds for every timeline: no gap, no line twice, in time.
func checkTimeline(t *testing.T, inc incident.Incident) {
	t.Helper()
	seen := map[string]bool{}
	for i, e := range inc.Timeline {
		if e.Seq != i+1 {
			t.Errorf("line %d of the timeline has seq %d", i+1, e.Seq)
		}
		if i > 0 && e.At.Before(inc.Timeline[i-1].At) {
			t.Errorf("line %d is older than the one before it", i+1)
		}
		line := e.Kind + ": " + e.Message
		if seen[line] {
			t.Errorf("%q is on the timeline twice", line)
		}
		seen[line] = true
	}
	if !inc.Phase.Closed() || inc.Outcome == "" || inc.Outcome.Phase() != inc.Phase || inc.ClosedAt.IsZero() {
		t.Errorf("phase %s, outcome %q, closed at %s do not fit", inc.Phase, inc.Outcome, inc.ClosedAt)
	}
}
