package respond

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
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
	Cut         string // right before this point it kills itself: see counter
	Person      string // who is asked says "" yes, or "no", is "away", "resolves" the alert, or is "not asked"
	Finds       string // "" a cause with a runbook, "report" for one without steps, or "clean"
	Worse       bool   // the verification fails
	Pauses      bool   // somebody pauses kmend while it verifies
	Fails       string // "apply", or "apply 1" for the second step alone
	Once        bool   // no step may be done twice
	ActDeadline time.Duration
	Sweep       time.Duration

	Replica string   // with this name it is one of several: see replica_child_test.go
	Points  []string // of such a one: it takes in an alert for each, and hangs there with it

	Life int // of one that asks what started it for everything: see jungle_child_test.go
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		var c child
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		run := c.main
		switch {
		case c.Replica != "":
			run = c.replica
		case c.Life > 0:
			run = c.inJungle
		}
		if err := run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// placer gives a test a world and a database of its own: an empty one, or a copy of
// that of another.
type placer func(t *testing.T, like ...child) child

func onSQLite(t *testing.T, like ...child) child {
	t.Helper()
	c := child{Dir: t.TempDir()}
	for _, l := range like {
		b, err := os.ReadFile(l.file())
		if err == nil {
			err = os.WriteFile(c.file(), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// with is o in the world and on the database of c.
func (c child) with(o child) child { o.Dir, o.Database = c.Dir, c.Database; return o }

// flow is one way through the phases.
type flow struct {
	name    string
	child   child
	outcome incident.Outcome
	world   []string // the effects in the end, in order
	// cut is how it may end as well when it was killed; then what a person has to look
	// at is said, and the effects are the first of world.
	cut []incident.Outcome
}

func flows() []flow {
	fixed := []string{"apply 0", "apply 1"}
	undone := append(slices.Clone(fixed), "undo 1", "undo 0")
	return []flow{
		{"allowed", child{Person: "not asked"}, incident.Fixed, fixed, nil},
		{"approved", child{}, incident.Fixed, fixed, nil},
		{"rejected", child{Person: "no"}, incident.Denied, nil, nil},
		{"expired", child{Person: "away"}, incident.Expired, nil, nil},
		{"resolved", child{Person: "resolves"}, incident.Superseded, nil, nil},
		{"report", child{Finds: "report"}, incident.Reported, nil, nil},
		{"clean", child{Finds: "clean"}, incident.OutcomeClean, nil, nil},
		{"undone", child{Person: "not asked", Worse: true}, incident.Undone, undone, nil},
		{"paused", child{Person: "not asked", Worse: true, Pauses: true}, incident.Failed, fixed, nil},
		{"failed", child{Person: "not asked", Fails: "apply 1"}, incident.Failed, []string{"apply 0", "undo 0"}, []incident.Outcome{incident.Interrupted}},
		{"once", child{Person: "not asked", Worse: true, Once: true}, incident.Undone, undone, []incident.Outcome{incident.Interrupted, incident.Failed}},
	}
}

// judge looks at the incident and at the world when f has come to its end.
func (f flow) judge(t *testing.T, at child, killed bool) {
	t.Helper()
	inc, world := readIncident(t, at), effects(t, at.Dir)
	checkTimeline(t, inc)
	switch {
	case inc.Outcome == f.outcome && slices.Equal(world, f.world):
	case killed && slices.Contains(f.cut, inc.Outcome) && strings.Contains(inc.Reason, "look at the target") &&
		len(world) <= len(f.world) && slices.Equal(world, f.world[:len(world)]):
	default:
		t.Errorf("outcome %s (%s), the world has seen %q; want %s and %q", inc.Outcome, inc.Reason, world, f.outcome, f.world)
	}
	if calls := readLines(at.Dir, "world"); f.child.Once && len(slices.Compact(slices.Sorted(slices.Values(calls)))) < len(calls) {
		t.Errorf("a step that must not be done twice was asked for twice: %q", calls)
	}
}

// TestKilledAtEachPoint kills kmend right before every point of every flow, which
// is right after the one before it, starts it again, and looks at the incident and
// at the world. Without a soak, every so many of them.
func TestKilledAtEachPoint(t *testing.T) { testKilledAtEachPoint(t, onSQLite, 6) }

func testKilledAtEachPoint(t *testing.T, world placer, share int) {
	t.Parallel()
	if os.Getenv(soak) != "" {
		share = 1
	}
	begun := world(t)
	begun.begin(t)
	var points, kills atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d points in %d flows, killed at %d of them", points.Load(), len(flows()), kills.Load())
	})
	for n, f := range flows() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			place := func(t *testing.T) child { return world(t, begun) }
			if n == 0 { // a first start is the same for all
				place = func(t *testing.T) child { return world(t) }
			}
			at := place(t)
			at.with(f.child).toTheEnd(t)
			f.judge(t, at, false)
			names := readLines(at.Dir, "points")
			t.Logf("%d points: %s", len(names), strings.Join(names, ", "))
			points.Add(int64(len(names)))
			for i, name := range names {
				if (i+n)%share != 0 {
					continue
				}
				kills.Add(1)
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
					t.Parallel()
					at := place(t)
					at.with(f.child).killedAt(t, name)
					at.with(f.child).toTheEnd(t)
					f.judge(t, at, true)
				})
			}
		})
	}
}

// received is when the alert is on disk and has no workflow.
const received = "changed 1"

// TestKilledAnywhere kills kmend at random moments until it comes to an end.
func TestKilledAnywhere(t *testing.T) { testKilledAnywhere(t, onSQLite) }

func testKilledAnywhere(t *testing.T, world placer) {
	t.Parallel()
	for n := range 3 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{Worse: true}).killedAt(t, received)
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
	for _, point := range []string{received, "diagnose 1", "apply 0 1", "answer of apply 0 1", "diagnose 2", "answer of undo 1 1"} {
		t.Run(strings.ReplaceAll(point, " ", "_"), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{Worse: true}).killedAt(t, point)
			lines := readLines(dir, "world")
			at.with(child{Worse: true, ActDeadline: time.Nanosecond}).toTheEnd(t)
			inc := readIncident(t, at)
			checkTimeline(t, inc)
			if got := readLines(dir, "world"); inc.Outcome != incident.Interrupted || !slices.Equal(got, lines) {
				t.Errorf("outcome %s (%s), world %q, want interrupted and %q", inc.Outcome, inc.Reason, got, lines)
			}
			if acted := strings.Contains(point, "apply"); acted != strings.Contains(inc.Reason, "step 1 of 2 may or may not") {
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
	for _, point := range []string{"apply 0 1", "answer of apply 1 1"} {
		t.Run(strings.ReplaceAll(point, " ", "_"), func(t *testing.T) {
			t.Parallel()
			at := world(t)
			dir := at.Dir
			at.with(child{}).killedAt(t, point)
			seen := effects(t, dir)
			at.with(child{Fails: "apply"}).toTheEnd(t)
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
		"apply 0 1": incident.Interrupted, "answer of apply 0 1": incident.Interrupted, "answer of apply 1 1": incident.Interrupted, "answer of undo 1 1": incident.Failed,
	} {
		t.Run(strings.ReplaceAll(at, " ", "_"), func(t *testing.T) {
			t.Parallel()
			here := onSQLite(t)
			dir := here.Dir
			here.with(child{Worse: true, Once: true}).killedAt(t, at)
			lines := readLines(dir, "world")
			here.with(child{Worse: true, Once: true}).toTheEnd(t)
			inc := readIncident(t, here)
			checkTimeline(t, inc)
			if got := readLines(dir, "world"); inc.Outcome != want || !strings.Contains(inc.Reason, "must not be done twice") || !slices.Equal(got, lines) {
				t.Errorf("outcome %s (%s), world %q, want %s and %q", inc.Outcome, inc.Reason, got, want, lines)
			}
		})
	}
}
