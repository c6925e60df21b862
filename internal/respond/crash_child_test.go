package respond

import (
	"bytes"
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

// killedThere runs kmend until it hangs where it is told to, and kills it.
func (c child) killedThere(t *testing.T) {
	t.Helper()
	cmd := c.start(t)
	reached := filepath.Join(c.Dir, "reached")
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(reached); err == nil {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("%q was not reached in two minutes: %s", c.HangAt, cmd.Stderr)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if err := os.Remove(reached); err != nil {
		t.Fatal(err)
	}
}

func (c child) toTheEnd(t *testing.T) {
	t.Helper()
	cmd := c.start(t)
	timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("kmend after the restart: %v: %s", err, cmd.Stderr)
	}
}

// open opens the database: PostgreSQL where it has an address, else a file in Dir.
func (c child) open(ctx context.Context) (*store.Store, error) {
	if c.Database != "" {
		return store.OpenPostgres(ctx, c.Database)
	}
	return store.Open(ctx, filepath.Join(c.Dir, "kmend.db"))
}

// main is kmend with one incident: it takes it in unless it is there, answers
// for the person, and ends when it is reported.
func (c child) main(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	o := options(s, c.stages())
	o.ActDeadline = c.ActDeadline
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := New(o)
	if err != nil {
		return err
	}
	list, err := s.List(ctx, store.Filter{})
	if err != nil {
		return err
	}
	if len(list) == 0 && c.HangAt == "received" {
		if _, err := s.Ingest(ctx, r.split(firing("/a")), 10); err != nil {
			return err
		}
		c.gate("received")
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	if len(list) == 0 {
		if err := r.Ingest(ctx, firing("/a")); err != nil {
			return err
		}
	}
	for ; ; time.Sleep(2 * time.Millisecond) {
		if list, err = s.List(ctx, store.Filter{}); err != nil {
			return err
		}
		switch inc := list[0]; {
		case hasKind(inc, "notified"):
			if err := r.Stop(ctx); err != nil {
				return err
			}
			return s.Close()
		case inc.Phase == incident.AwaitingApproval && inc.Approval == nil:
			c.gate("awaiting")
			a := incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}
			if c.HangAt == "answered" { // the answer is committed and nobody is woken
				if err := s.Approve(ctx, a, 1); err != nil {
					return err
				}
				c.gate("answered")
			}
			if err := r.Approve(ctx, a); err != nil && !errors.Is(err, store.ErrClosed) {
				return err
			}
		}
	}
}

// gate hangs for good if this is the point to hang at.
func (c child) gate(at string) {
	if c.HangAt != at {
		return
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "reached"), nil, 0o600); err != nil {
		panic(err)
	}
	select {}
}

// stages act on a world that is a file: a line a call, a line an effect, on disk
// before the call returns. Like a real action they read it before they act.
func (c child) stages() *stages {
	count := map[string]int{}
	nth := func(what string) {
		count[what]++
		c.gate(fmt.Sprintf("%s %d", what, count[what]))
	}
	d := &stages{}
	d.diagnose = func(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		nth("diagnose")
		return throttled(t), nil
	}
	d.preview = func(_ context.Context, p incident.Plan) (incident.Plan, error) {
		c.gate("preview")
		for i := range p.Steps {
			if c.Once {
				p.Steps[i].Preview = &incident.Preview{Once: true}
			}
		}
		return p, nil
	}
	d.decide = func(inc incident.Incident, p incident.Plan) incident.Decision {
		nth("decide")
		return askPerson(inc, p)
	}
	d.apply = func(_ context.Context, _ incident.Plan, step int) (incident.Execution, error) {
		if c.ApplyFails {
			return incident.Execution{}, errors.New("the target does not answer")
		}
		return incident.Execution{State: map[string]string{"was": "0.3"}, Result: c.effect("apply", step, "applied", "already applied")}, nil
	}
	d.undo = func(_ context.Context, _ incident.Plan, done incident.Execution) (incident.Execution, error) {
		return incident.Execution{Result: c.effect("undo", done.Step, "undone", "undone")}, nil
	}
	if c.Worse {
		d.verify = worse
	}
	d.notify = func(context.Context, incident.Incident) error { c.gate("notify"); return nil }
	return d
}

// effect does act to the world unless it is done already.
func (c child) effect(act string, step int, result, already string) string {
	what := fmt.Sprintf("%s %d", act, step)
	c.gate("before " + what)
	c.write("call " + what)
	lines, err := readLines(c.Dir)
	if err != nil {
		panic(err)
	}
	if slices.Contains(lines, "effect "+what) {
		return already
	}
	c.write("effect " + what)
	c.gate("after " + what)
	return result
}

func (c child) write(line string) {
	f, err := os.OpenFile(filepath.Join(c.Dir, "world"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
	if err := f.Sync(); err != nil {
		panic(err)
	}
}

func readLines(dir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "world"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), nil
}

func worldLines(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := readLines(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(l string) bool { return l == "" })
}

// effects are what really happened to the world, in order.
func effects(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, l := range worldLines(t, dir) {
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
