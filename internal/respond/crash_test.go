package respond

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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

// childEnv makes the test binary a kmend that is to be killed: see TestMain.
const childEnv = "KMEND_TEST_CRASH_CHILD"

// child is what such a kmend is told.
type child struct {
	Dir         string
	HangAt      string // reaches this point, says so, and goes no further
	Worse       bool   // the verification fails
	ApplyFails  bool
	ActDeadline time.Duration
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		var c child
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		if err := c.main(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKilledInEachPhase kills kmend with SIGKILL at one point of the flow, starts
// it again, and looks at the incident and at the world.
func TestKilledInEachPhase(t *testing.T) {
	t.Parallel()
	fixed, undone := []string{"apply 0", "apply 1"}, []string{"apply 0", "apply 1", "undo 1", "undo 0"}
	for _, tt := range []struct {
		at     string
		worse  bool
		phase  incident.Phase // in which it is killed
		before []string       // effects in the world when it is killed
		world  []string       // effects in the world in the end
	}{
		{"received", false, incident.Received, nil, fixed},
		{"diagnose 1", false, incident.Diagnosing, nil, fixed},
		{"preview", false, incident.Diagnosing, nil, fixed},
		{"decide 1", false, incident.Planned, nil, fixed},
		{"awaiting", false, incident.AwaitingApproval, nil, fixed},
		{"answered", false, incident.AwaitingApproval, nil, fixed},
		{"before apply 0", false, incident.Executing, nil, fixed},
		{"after apply 0", false, incident.Executing, fixed[:1], fixed},
		{"before apply 1", false, incident.Executing, fixed[:1], fixed},
		{"after apply 1", false, incident.Executing, fixed, fixed},
		{"diagnose 2", false, incident.Verifying, fixed, fixed},
		{"before undo 1", true, incident.Verifying, fixed, undone},
		{"after undo 1", true, incident.Verifying, undone[:3], undone},
		{"after undo 0", true, incident.Verifying, undone, undone},
		{"notify", false, incident.ResolvedPhase, fixed, fixed},
	} {
		t.Run(strings.ReplaceAll(tt.at, " ", "_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child{Dir: dir, HangAt: tt.at, Worse: tt.worse}.killedThere(t)
			before := readIncident(t, dir)
			if before.Phase != tt.phase {
				t.Errorf("killed in phase %s, want %s", before.Phase, tt.phase)
			}
			if got := effects(t, dir); !slices.Equal(got, tt.before) {
				t.Errorf("when killed the world has seen %q, want %q", got, tt.before)
			}
			calls := len(worldLines(t, dir))
			child{Dir: dir, Worse: tt.worse}.toTheEnd(t)

			inc := readIncident(t, dir)
			checkTimeline(t, inc)
			want := incident.Fixed
			if tt.worse {
				want = incident.Undone
			}
			if inc.Outcome != want {
				t.Errorf("outcome %s (%s), want %s", inc.Outcome, inc.Reason, want)
			}
			if got := effects(t, dir); !slices.Equal(got, tt.world) {
				t.Errorf("the world has seen %q, want %q", got, tt.world)
			}
			for _, line := range worldLines(t, dir)[calls:] { // what was recorded is not even asked for again
				for _, e := range before.Executions {
					act := "apply"
					if e.Result == "undone" {
						act = "undo"
					}
					if line == fmt.Sprintf("call %s %d", act, e.Step) {
						t.Errorf("%q after the restart, though its result was recorded before", line)
					}
				}
			}
		})
	}
}

// TestKilledAnywhere kills kmend at random moments until it comes to an end.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for n := range 3 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child{Dir: dir, Worse: true, HangAt: "received"}.killedThere(t)
			for range 4 {
				cmd := child{Dir: dir, Worse: true}.start(t)
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
				_ = cmd.Process.Kill() // it may have come to its end
				_ = cmd.Wait()
			}
			child{Dir: dir, Worse: true}.toTheEnd(t)
			inc := readIncident(t, dir)
			checkTimeline(t, inc)
			if got, want := effects(t, dir), []string{"apply 0", "apply 1", "undo 1", "undo 0"}; inc.Outcome != incident.Undone || !slices.Equal(got, want) {
				t.Errorf("outcome %s (%s), the world has seen %q, want undone and %q", inc.Outcome, inc.Reason, got, want)
			}
		})
	}
}

// TestKilledAndBackTooLate: past the deadline nothing is repeated and nothing undone.
func TestKilledAndBackTooLate(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"received", "diagnose 1", "before apply 0", "after apply 0", "diagnose 2", "after undo 1"} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child{Dir: dir, HangAt: at, Worse: true}.killedThere(t)
			lines := worldLines(t, dir)
			child{Dir: dir, Worse: true, ActDeadline: time.Nanosecond}.toTheEnd(t)
			inc := readIncident(t, dir)
			checkTimeline(t, inc)
			if got := worldLines(t, dir); inc.Outcome != incident.Interrupted || !slices.Equal(got, lines) {
				t.Errorf("outcome %s (%s), world %q, want interrupted and %q", inc.Outcome, inc.Reason, got, lines)
			}
			if acted := at == "before apply 0" || at == "after apply 0"; acted != strings.Contains(inc.Reason, "step 1 of 2 may or may not") {
				t.Errorf("reason %q", inc.Reason)
			}
		})
	}
}

// TestKilledAndThenAnError: after a crash in a step an error does not mean that
// nothing happened, so nobody may be told that it failed, and nothing is undone.
func TestKilledAndThenAnError(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before apply 0", "after apply 1"} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child{Dir: dir, HangAt: at}.killedThere(t)
			seen := effects(t, dir)
			child{Dir: dir, ApplyFails: true}.toTheEnd(t)
			inc := readIncident(t, dir)
			checkTimeline(t, inc)
			if inc.Outcome != incident.Interrupted || !strings.Contains(inc.Reason, "may or may not have taken effect: look at the target") {
				t.Errorf("outcome %s (%s)", inc.Outcome, inc.Reason)
			}
			if got := effects(t, dir); !slices.Equal(got, seen) {
				t.Errorf("the world has seen %q, want %q", got, seen)
			}
		})
	}
}

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

// main is kmend with one incident: it takes it in unless it is there, answers
// for the person, and ends when it is reported.
func (c child) main(ctx context.Context) error {
	s, err := store.Open(ctx, filepath.Join(c.Dir, "kmend.db"))
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
			a := incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada"}
			if c.HangAt == "answered" { // the answer is committed and nobody is woken
				if err := s.Approve(ctx, a); err != nil {
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

func readIncident(t *testing.T, dir string) incident.Incident {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(dir, "kmend.db"))
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
