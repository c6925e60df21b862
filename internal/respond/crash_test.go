package respond

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// childEnv makes the test binary a kmend that is to be killed: see TestMain.
const childEnv = "KMEND_TEST_CRASH_CHILD"

// child is what such a kmend is told.
type child struct {
	Dir         string // of the world, and of the database unless it has an address
	Database    string // URL of PostgreSQL
	HangAt      string // reaches this point, says so, and goes no further
	Worse       bool   // the verification fails
	ApplyFails  bool
	Once        bool // no step may be done twice
	ActDeadline time.Duration

	Replica string   // with this name it is one of several: see replica_child_test.go
	Points  []string // of such a one: it takes in an alert for each, and hangs there with it
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		var c child
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		run := c.main
		if c.Replica != "" {
			run = c.replica
		}
		if err := run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// placer gives a test a world and a database of its own.
type placer func(t *testing.T) child

func onSQLite(t *testing.T) child { t.Helper(); return child{Dir: t.TempDir()} }

// with is o in the world and on the database of c.
func (c child) with(o child) child { o.Dir, o.Database = c.Dir, c.Database; return o }

// TestKilledInEachPhase kills kmend with SIGKILL at one point of the flow, starts
// it again, and looks at the incident and at the world.
func TestKilledInEachPhase(t *testing.T) { testKilledInEachPhase(t, onSQLite) }

func testKilledInEachPhase(t *testing.T, world placer) {
	t.Parallel()
	fixed, undone := []string{"apply 0", "apply 1"}, []string{"apply 0", "apply 1", "undo 1", "undo 0"}
	for _, tt := range []struct {
		point  string
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
		t.Run(strings.ReplaceAll(tt.point, " ", "_"), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{HangAt: tt.point, Worse: tt.worse}).killedThere(t)
			before := readIncident(t, at)
			if before.Phase != tt.phase {
				t.Errorf("killed in phase %s, want %s", before.Phase, tt.phase)
			}
			if got := effects(t, dir); !slices.Equal(got, tt.before) {
				t.Errorf("when killed the world has seen %q, want %q", got, tt.before)
			}
			calls := len(worldLines(t, dir))
			at.with(child{Worse: tt.worse}).toTheEnd(t)

			inc := readIncident(t, at)
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
func TestKilledAnywhere(t *testing.T) { testKilledAnywhere(t, onSQLite) }

func testKilledAnywhere(t *testing.T, world placer) {
	t.Parallel()
	for n := range 3 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{Worse: true, HangAt: "received"}).killedThere(t)
			for range 4 {
				cmd := at.with(child{Worse: true}).start(t)
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
				_ = cmd.Process.Kill() // it may have come to its end
				_ = cmd.Wait()
			}
			at.with(child{Worse: true}).toTheEnd(t)
			inc := readIncident(t, at)
			checkTimeline(t, inc)
			if got, want := effects(t, dir), []string{"apply 0", "apply 1", "undo 1", "undo 0"}; inc.Outcome != incident.Undone || !slices.Equal(got, want) {
				t.Errorf("outcome %s (%s), the world has seen %q, want undone and %q", inc.Outcome, inc.Reason, got, want)
			}
		})
	}
}

// TestKilledAndBackTooLate: past the deadline nothing is repeated and nothing undone.
func TestKilledAndBackTooLate(t *testing.T) { testKilledAndBackTooLate(t, onSQLite) }

func testKilledAndBackTooLate(t *testing.T, world placer) {
	t.Parallel()
	for _, point := range []string{"received", "diagnose 1", "before apply 0", "after apply 0", "diagnose 2", "after undo 1"} {
		t.Run(strings.ReplaceAll(point, " ", "_"), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{HangAt: point, Worse: true}).killedThere(t)
			lines := worldLines(t, dir)
			at.with(child{Worse: true, ActDeadline: time.Nanosecond}).toTheEnd(t)
			inc := readIncident(t, at)
			checkTimeline(t, inc)
			if got := worldLines(t, dir); inc.Outcome != incident.Interrupted || !slices.Equal(got, lines) {
				t.Errorf("outcome %s (%s), world %q, want interrupted and %q", inc.Outcome, inc.Reason, got, lines)
			}
			if acted := point == "before apply 0" || point == "after apply 0"; acted != strings.Contains(inc.Reason, "step 1 of 2 may or may not") {
				t.Errorf("reason %q", inc.Reason)
			}
		})
	}
}

// TestKilledAndThenAnError: after a crash in a step an error does not mean that
// nothing happened, so nobody may be told that it failed, and nothing is undone.
func TestKilledAndThenAnError(t *testing.T) { testKilledAndThenAnError(t, onSQLite) }

func testKilledAndThenAnError(t *testing.T, world placer) {
	t.Parallel()
	for _, point := range []string{"before apply 0", "after apply 1"} {
		t.Run(strings.ReplaceAll(point, " ", "_"), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{HangAt: point}).killedThere(t)
			seen := effects(t, dir)
			at.with(child{ApplyFails: true}).toTheEnd(t)
			inc := readIncident(t, at)
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

// TestKilledInAStepThatMustNotBeDoneTwice: nobody asks the action again, before
// or after it took effect, and a person is told to look.
func TestKilledInAStepThatMustNotBeDoneTwice(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]incident.Outcome{
		"before apply 0": incident.Interrupted, "after apply 0": incident.Interrupted, "after apply 1": incident.Interrupted, "after undo 1": incident.Failed,
	} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			t.Parallel()
			here := onSQLite(t)
			dir := here.Dir
			here.with(child{HangAt: at, Worse: true, Once: true}).killedThere(t)
			lines := worldLines(t, dir)
			here.with(child{Worse: true, Once: true}).toTheEnd(t)
			inc := readIncident(t, here)
			checkTimeline(t, inc)
			if got := worldLines(t, dir); inc.Outcome != want || !strings.Contains(inc.Reason, "must not be done twice") || !slices.Equal(got, lines) {
				t.Errorf("outcome %s (%s), world %q, want %s and %q", inc.Outcome, inc.Reason, got, want, lines)
			}
		})
	}
}
