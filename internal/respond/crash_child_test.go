package respond

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

func (c child) start(t *testing.T) *exec.Cmd {
	t.Helper()
	if c.ActDeadline == 0 {
		c.ActDeadline = time.Hour
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = &bytes.Buffer{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// killedAt runs kmend until it kills itself right before a point.
func (c child) killedAt(t *testing.T, point string) {
	t.Helper()
	c.Cut = point
	cmd, err := c.ended(t)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%q was not reached: %v: %s", point, err, cmd.Stderr)
	}
}

func (c child) toTheEnd(t *testing.T) {
	t.Helper()
	if cmd, err := c.ended(t); err != nil {
		t.Fatalf("kmend: %v: %s", err, cmd.Stderr)
	}
}

func (c child) ended(t *testing.T) (*exec.Cmd, error) {
	t.Helper()
	cmd := c.start(t)
	late := make(chan struct{})
	timer := time.AfterFunc(2*time.Minute, func() { close(late); _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		<-late
		t.Fatalf("kmend has no end within two minutes: %s", cmd.Stderr)
	}
	return cmd, err
}

// open opens the database: PostgreSQL where it has an address, else a file in Dir.
func (c child) open(ctx context.Context) (*store.Store, error) {
	if c.Database != "" {
		return store.OpenPostgres(ctx, c.Database)
	}
	return store.Open(ctx, c.file())
}

func (c child) file() string { return filepath.Join(c.Dir, "kmend.db") }

// begin starts and stops a kmend, and leaves what a first start makes.
func (c child) begin(t *testing.T) {
	t.Helper()
	s, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	startOn(t, s, &stages{}).stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// main is kmend with one incident. It takes in what the sender sends, which is the
// same alert after each start, answers for the person, and ends when everything is
// written down. What was acknowledged must be there when it starts.
func (c child) main(ctx context.Context) error {
	p, err := newCounter(c.Dir, c.Cut)
	if err != nil {
		return err
	}
	if c.Database == "" {
		p.onSQLite()
	} else if c.Database, err = p.onPostgres(c.Database); err != nil {
		return err
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	o := options(s, nil)
	if err := (counted{p, c.stages(s, p)}).count(&o); err != nil {
		return err
	}
	o.ActDeadline, o.ApprovalExpiry = c.ActDeadline, time.Hour
	if c.Person == "away" {
		o.ApprovalExpiry = 100 * time.Millisecond
	}
	o.SweepInterval, o.DeadAfter = cmp.Or(c.Sweep, time.Hour), time.Hour // nothing is written only because time passes
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := New(o)
	if err != nil {
		return err
	}
	if list, err := s.List(ctx, store.Filter{}); err != nil {
		return err
	} else if len(list) == 0 && c.said("alert") {
		return errors.New("the alert was acknowledged and is not there")
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	if err := r.Ingest(ctx, firing("/a")); err != nil {
		return err
	}
	c.say("alert")
	for ; ; time.Sleep(time.Millisecond) {
		list, err := s.List(ctx, store.Filter{})
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("%d incidents for one alert", len(list))
		}
		if hasKind(list[0], "notified") {
			break
		}
		if list[0].Phase == incident.AwaitingApproval && list[0].Approval == nil {
			if err := c.answers(ctx, r, list[0]); err != nil && !store.Refused(err) {
				return err
			}
		}
	}
	for busy := true; busy; time.Sleep(time.Millisecond) { // the engine writes down that it is over
		runs, err := dbos.ListWorkflows(r.engine, dbos.WithFilterAppVersion(flowVersion),
			dbos.WithFilterStatus(dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued))
		if err != nil {
			return err
		}
		busy = len(runs) > 0
	}
	if err := r.Stop(ctx); err != nil {
		return err
	}
	return s.Close()
}

// answers is what the person does who is asked.
func (c child) answers(ctx context.Context, r *Responder, inc incident.Incident) (err error) {
	switch {
	case c.Person == "away":
		return nil
	case c.said("answer"):
		return errors.New("the answer was acknowledged and is not there")
	case c.Person == "resolves":
		err = r.Ingest(ctx, resolvedOf(firing("/a")))
	default:
		err = r.Approve(ctx, incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: c.Person != "no", By: "ada", SlackUser: ada})
	}
	if err == nil {
		c.say("answer")
	}
	return err
}

// say writes down what kmend has acknowledged.
func (c child) say(what string) {
	if !c.said(what) {
		c.write("acknowledged", what)
	}
}

func (c child) said(what string) bool { return slices.Contains(readLines(c.Dir, "acknowledged"), what) }

// ada is the Slack user who may answer.
const ada = "U1"

// stages act on a world that is a file: a line a call, a line an effect. Like a real action they read it before they act.
func (c child) stages(s *store.Store, p *counter) *stages {
	d := &stages{}
	d.diagnose = func(ctx context.Context, t incident.Target, w time.Duration) (incident.Diagnosis, error) {
		if c.Finds == "clean" {
			return saying(incident.Clean, "the kernel is clean")(ctx, t, w)
		}
		return throttled(t), nil
	}
	if c.Finds == "report" {
		d.plan = forAPerson(nil)
	}
	d.preview = func(_ context.Context, p incident.Plan) (incident.Plan, error) {
		for i := range p.Steps {
			if c.Once {
				p.Steps[i].Preview = &incident.Preview{Once: true}
			}
		}
		return p, nil
	}
	d.decide = func(incident.Incident, incident.Plan) incident.Decision {
		if c.Person == "not asked" {
			return incident.Decision{Effect: incident.Allow, Policy: "test", Reason: "it is a test"}
		}
		return incident.Decision{Effect: incident.RequireApproval, Policy: "test", Rule: "ask", Approval: &incident.Approvers{Groups: []string{"S1"}}}
	}
	d.paused = func() (string, error) {
		pause, _, err := s.Paused(context.Background())
		return pause.By, err
	}
	d.apply = func(ctx context.Context, plan incident.Plan, step int) (incident.Execution, error) {
		c.intended(ctx, s, "intent", step)
		if c.Fails == "apply" || c.Fails == fmt.Sprint("apply ", step) {
			return incident.Execution{}, errors.New("the target does not answer")
		}
		return incident.Execution{State: map[string]string{"was": "0.3"}, Result: c.effect(p, "apply", step, "applied", "already applied")}, nil
	}
	d.undo = func(ctx context.Context, _ incident.Plan, done incident.Execution) (incident.Execution, error) {
		c.intended(ctx, s, "undo_intent", done.Step)
		return incident.Execution{Result: c.effect(p, "undo", done.Step, "undone", "undone")}, nil
	}
	d.verify = func(plan incident.Plan, before, after incident.Diagnosis) incident.Verification {
		if c.Pauses {
			if err := s.Pause(context.Background(), store.Pause{By: "ada", At: time.Now()}); err != nil {
				panic(err)
			}
		}
		if c.Worse {
			return worse(plan, before, after)
		}
		return incident.Verification{Cause: plan.Cause, Better: true, Reason: "better", Diagnosis: after}
	}
	return d
}

// intended makes sure, at the moment of acting, that the intent is on disk, that
// the result is not, and that the incident has no end.
func (c child) intended(ctx context.Context, s *store.Store, kind string, step int) {
	list, err := s.List(ctx, store.Filter{})
	if err != nil || len(list) != 1 {
		panic(fmt.Sprintf("%d incidents, %v", len(list), err))
	}
	p, err := s.Progress(ctx, list[0].ID)
	if err != nil {
		panic(err)
	}
	done := p.Applied
	if kind == "undo_intent" {
		done = p.Undone
	}
	_, intended := p.Keys[key(kind, step)]
	if _, again := done[step]; !intended || again || p.Phase.Closed() {
		c.write("world", fmt.Sprintf("wrong: %s of step %d: written down before %t, result written down %t, phase %s", kind, step, intended, again, p.Phase))
	}
}

// effect does act to the world unless it is done already.
func (c child) effect(p *counter, act string, step int, result, already string) string {
	what := fmt.Sprintf("%s %d", act, step)
	c.write("world", "call "+what)
	if slices.Contains(readLines(c.Dir, "world"), "effect "+what) {
		return already
	}
	c.write("world", "effect "+what)
	if p != nil {
		p.reach("answer of " + what)
	}
	return result
}

// write appends a line to one of the files that the database knows nothing of.
func (c child) write(file, line string) {
	f, err := os.OpenFile(filepath.Join(c.Dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

// readLines is what is written in such a file.
func readLines(dir, file string) []string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	return slices.DeleteFunc(strings.Split(string(b), "\n"), func(l string) bool { return l == "" })
}

// effects are what really happened to the world, in order.
func effects(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, l := range readLines(dir, "world") {
		if strings.HasPrefix(l, "wrong") {
			t.Error(l)
		}
		if e, ok := strings.CutPrefix(l, "effect "); ok {
			out = append(out, e)
		}
	}
	return out
}

func readIncident(t *testing.T, c child) incident.Incident {
	t.Helper()
	s, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.List(t.Context(), store.Filter{})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	return list[0]
}
