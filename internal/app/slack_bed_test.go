package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/respond"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report/llm"
	standin "github.com/kmend/kmend/test/slack"
)

// doubles of the stages find a throttled cgroup and can raise its quota; what asks for a
// person, and of whom, is the test's.
type doubles struct {
	mu        sync.Mutex
	approvers *incident.Approvers
	uid       string // of the target: a precondition
	version   int    // moves by itself
	applied   int
	done      incident.Plan // what was applied last
	freeze    string        // why the guards deny now
}

func (h *doubles) set(change func(*doubles)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *doubles) Diagnose(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
	return incident.Diagnosis{Target: t, Node: incident.Node{Name: "n1"}, Verdict: incident.Confirmed,
		Window:   incident.Window{Start: time.Now().Add(-time.Second), Seconds: 1},
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: .43, Message: "CPU throttled 1299 of 3000 ms", Evidence: []string{"e1"}}},
		Evidence: []incident.Evidence{{ID: "e1", Probe: "threads", Metric: "throttled", Value: 1299, Unit: "ms"}}}, nil
}

func (h *doubles) Plan(inc incident.Incident) (incident.Plan, bool, string, error) {
	return incident.Plan{Runbook: "raise-cpu-limit", Cause: incident.CPUThrottled, Target: inc.Diagnosis.Target, Evidence: []string{"e1"}, Undo: incident.UndoAutomatic,
		Steps:  []incident.Step{{Name: "raise", Action: "double.raise"}},
		Verify: incident.Verify{Settle: incident.Duration(time.Millisecond), Window: incident.Duration(time.Millisecond), Improve: .5}}, true, "", nil
}

func (h *doubles) Decide(context.Context, incident.Incident, incident.Plan) incident.Decision {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.freeze != "" {
		return incident.Decision{Effect: incident.Deny, Policy: "test", Rule: "freeze", Reason: h.freeze}
	}
	return incident.Decision{Effect: incident.RequireApproval, Policy: "test", Rule: "ask", Reason: "production", Approval: h.approvers}
}

func (h *doubles) Preview(_ context.Context, p incident.Plan) (incident.Plan, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version++
	p.Steps = slices.Clone(p.Steps)
	p.Steps[0].Preview = &incident.Preview{Summary: "raise the quota", Before: "0.3 CPU", After: "0.6 CPU", Server: "a double",
		Preconditions: map[string]string{"uid": h.uid, "resourceVersion": fmt.Sprint(h.version)}}
	return p, nil
}

func (h *doubles) Apply(_ context.Context, p incident.Plan, _ int) (incident.Execution, error) {
	h.set(func(h *doubles) { h.applied++; h.done = p })
	return incident.Execution{Before: "0.3 CPU", After: "0.6 CPU", Result: "applied", State: map[string]string{"was": "0.3"}}, nil
}

func (h *doubles) Undo(_ context.Context, _ incident.Plan, e incident.Execution) (incident.Execution, error) {
	return e, nil
}

func (h *doubles) Verify(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
	return incident.Verification{Cause: p.Cause, Before: .43, After: .01, Improved: true, Better: true, Reason: "throttled 43% before, 1% after", Diagnosis: after}
}

// bed is kmend with Slack, and double stages around them.
type bed struct {
	*doubles
	t     *testing.T
	dir   string
	slack *standin.Server
	db    *store.Store
	flow  *respond.Responder
	door  *httptest.Server
	stop  func()
	app   *slackApp
	// routes are those of the next start.
	routes []Route
	model  *LLM // writes summaries; nil: none is asked
	// planner is the next start's; nil: the doubles plan.
	planner respond.Planner
}

const tester = "ada" // an approver, who is U7 in Slack

func newBed(t *testing.T, h *doubles, expiry time.Duration) *bed {
	t.Helper()
	return newBedWith(t, h, expiry, nil)
}

func newBedWith(t *testing.T, h *doubles, expiry time.Duration, model *LLM) *bed {
	t.Helper()
	b := &bed{model: model, doubles: h, t: t, dir: t.TempDir(), slack: standin.Start(standin.Options{Groups: map[string][]string{"S1": {"U2"}}})}
	for name, text := range map[string]string{"bot": standin.BotToken, "signing": standin.SigningSecret} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.start(expiry)
	t.Cleanup(func() {
		b.stop()
		b.slack.Close()
		for _, p := range b.slack.Problems() {
			t.Error(p)
		}
	})
	return b
}

// start starts kmend; after stop it starts it again on the same store.
func (b *bed) start(expiry time.Duration) {
	b.t.Helper()
	log := slog.New(slog.NewTextHandler(b.t.Output(), nil))
	reg := prometheus.NewRegistry()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	var err error
	b.db, err = store.Open(b.t.Context(), filepath.Join(b.dir, "data", "kmend.db"))
	must(err)
	c := Slack{BotTokenFile: filepath.Join(b.dir, "bot"), SigningSecretFile: filepath.Join(b.dir, "signing"), Channel: "#kmend", APIURL: b.slack.APIURL(), HooksURL: b.slack.HooksURL()}
	routes, err := Config{Slack: &c, Routes: b.routes}.Routing()
	must(err)
	var now current
	now.routing.Store(routes)
	b.app, err = newSlack(c, &now, b.db, reg, log)
	must(err)
	b.app.poster.Interval, b.app.poster.Retry = 0, 50*time.Millisecond
	o := respond.DefaultOptions()
	o.Store, o.Diagnoser, o.Planner, o.Guard, o.Executor = b.db, b.doubles, b.doubles, b.doubles, b.doubles
	if b.planner != nil {
		o.Planner = b.planner
	}
	o.Groups, o.Watcher, o.Logger, o.ApprovalExpiry, o.Window = b.app.client, b.app.poster, log, expiry, time.Millisecond
	asks := func(context.Context) {}
	if b.model != nil {
		l, err := newLLM(*b.model, b.db, reg, log, func(*llm.Options) {})
		must(err)
		o.Watcher = watchers{l.desk, b.app.poster}
		asks = func(ctx context.Context) { l.run(ctx, watchers{b.app.poster}) }
	}
	o.TargetOf = func(a incident.Alert) (incident.Target, bool, string) {
		return incident.Target{Cgroup: a.Labels["cgroup"]}, true, ""
	}
	b.flow, err = respond.New(o)
	must(err)
	must(b.app.listen(b.flow, []Approver{{Name: tester, SlackUser: "U7"}}, reg))
	b.door = httptest.NewServer(b.app.door)
	b.slack.Serve(b.door.URL)
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var wg sync.WaitGroup
		wg.Go(func() { asks(ctx) })
		b.app.run(ctx)
		wg.Wait()
	}()
	must(b.flow.Start(b.t.Context()))
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			b.door.Close()
			stopping, enough := context.WithTimeout(context.WithoutCancel(b.t.Context()), 20*time.Second)
			defer enough()
			if err := b.flow.Stop(stopping); err != nil {
				b.t.Error(err)
			}
			cancel()
			<-ended
			if err := b.db.Close(); err != nil {
				b.t.Error(err)
			}
		})
	}
}

func (b *bed) notify(status incident.AlertStatus) { b.t.Helper(); b.notifyOf(status, 12) }

// notifyOf notifies of the alert that began to fire at an hour.
func (b *bed) notifyOf(status incident.AlertStatus, hour int) {
	b.t.Helper()
	a := incident.Alert{Fingerprint: "f", Status: status, StartsAt: time.Date(2026, 11, 21, hour, 0, 0, 0, time.UTC), Labels: map[string]string{"alertname": "Slow", "cgroup": "/a"}}
	if err := b.flow.Ingest(b.t.Context(), incident.Notification{Source: "test", GroupKey: "k", Status: status, Alerts: []incident.Alert{a}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within 20 s: %s\nmessages %+v\ntold %+v", what, b.slack.Messages(), b.slack.Ephemerals())
		}
	}
}

// asked is the message with the buttons.
func (b *bed) asked() standin.Message {
	b.t.Helper()
	b.until("a message with buttons", func() bool {
		m := b.slack.Messages()
		if len(m) == 0 {
			return false
		}
		ids, _ := m[0].Buttons()
		return len(ids) == 3
	})
	return b.slack.Messages()[0]
}

// says waits for the one message to say something.
func (b *bed) says(want string) string {
	b.t.Helper()
	var text string
	b.until("a message that says "+want, func() bool {
		m := b.slack.Messages()
		if len(m) != 1 {
			return false
		}
		text = standin.Says(m[0].Blocks)
		return strings.Contains(text, want)
	})
	return text
}

// ends waits for the last form of the message: without buttons.
func (b *bed) ends(want ...string) {
	b.t.Helper()
	text := b.says("Closed at")
	if ids, _ := b.slack.Messages()[0].Buttons(); len(ids) > 0 {
		b.t.Errorf("it is over and has buttons %v", ids)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			b.t.Errorf("the last message does not say %q:\n%s", w, text)
		}
	}
}

func (b *bed) click(m standin.Message, action, user string) {
	b.t.Helper()
	if status, err := b.slack.Click(b.t.Context(), m, "kmend."+action, user); err != nil || status != http.StatusOK {
		b.t.Fatalf("%s by %s: %d, %v", action, user, status, err)
	}
}

// told waits for the n-th thing that a single person is told.
func (b *bed) told(n int, user, want string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s is told %q", user, want), func() bool { return len(b.slack.Ephemerals()) >= n })
	if e := b.slack.Ephemerals()[n-1]; e.User != user || !strings.Contains(e.Text+standin.Says(e.Blocks), want) {
		b.t.Errorf("told %s %q %s; want %s %q", e.User, e.Text, standin.Says(e.Blocks), user, want)
	}
}

func (b *bed) acted(want int) {
	b.t.Helper()
	b.set(func(h *doubles) {
		if h.applied != want {
			b.t.Errorf("applied %d times, want %d", h.applied, want)
		}
	})
}

func users(persons int, ids ...string) *doubles {
	return &doubles{uid: "u1", approvers: &incident.Approvers{Users: ids, Groups: []string{"S1"}, Persons: persons}}
}

func (h *doubles) Paused(context.Context) (string, error) { return "", nil }
