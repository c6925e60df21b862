package respond

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/test/postgres"
)

// onPostgres gives each test a database of its own on one server.
func onPostgres(server *postgres.Server) placer {
	var n atomic.Int64
	return func(t *testing.T, like ...child) child {
		t.Helper()
		var templates []string
		for _, l := range like {
			templates = append(templates, l.Database)
		}
		c := child{Dir: t.TempDir(), Database: server.Database(fmt.Sprintf("respond%d", n.Add(1)), templates...)}
		if len(like) > 0 { // there may be hundreds of copies
			t.Cleanup(func() { server.Drop(c.Database) })
		}
		return c
	}
}

// TestCrashesOnPostgres is the crash matrix on a real PostgreSQL.
func TestCrashesOnPostgres(t *testing.T) {
	t.Parallel()
	world := onPostgres(postgres.Start(t))
	t.Run("matrix", func(t *testing.T) { // its end is that of what runs in parallel in it
		t.Run("at each point", func(t *testing.T) { testKilledAtEachPoint(t, world, 40) })
		if os.Getenv(soak) == "" {
			return // the rest takes half a minute more
		}
		t.Run("anywhere", func(t *testing.T) { testKilledAnywhere(t, world) })
		t.Run("back too late", func(t *testing.T) { testKilledAndBackTooLate(t, world) })
		t.Run("and then an error", func(t *testing.T) { testKilledAndThenAnError(t, world) })
	})
}

// points are where the first replica hangs, each with the effects that the world
// has seen then.
func points() map[string][]string {
	a0, a1, u1, u0 := "apply 0", "apply 1", "undo 1", "undo 0"
	return map[string][]string{
		"ingested": nil, "diagnose 1": nil, "preview": nil, "decide 1": nil, "awaiting": nil, "decide 2": nil,
		"before apply 0": nil, "after apply 0": {a0}, "before apply 1": {a0}, "after apply 1": {a0, a1}, "diagnose 2": {a0, a1},
		"before undo 1": {a0, a1}, "after undo 1": {a0, a1, u1}, "after undo 0": {a0, a1, u1, u0}, "notify": {a0, a1},
	}
}

// crew are replicas of kmend, each a process.
type crew struct {
	child
	t     *testing.T
	by    map[string]*exec.Cmd
	store *store.Store
}

func newCrew(t *testing.T, c child) crew {
	t.Helper()
	s, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := crew{child: c, t: t, by: map[string]*exec.Cmd{}, store: s}
	t.Cleanup(func() {
		for name := range w.by {
			w.kill(name)
		}
		if t.Failed() {
			for name, cmd := range w.by {
				t.Logf("%s:\n%s", name, cmd.Stderr)
			}
		}
	})
	return w
}

// join starts replicas and waits until they are up.
func (w crew) join(points []string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.by[name] = w.with(child{Replica: name, Points: points}).start(w.t)
	}
	w.await("up", names, time.Minute)
}

func (w crew) await(what string, names []string, patience time.Duration) {
	w.t.Helper()
	until := time.Now().Add(patience)
	for _, name := range names {
		for ; !w.marked(what, name); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(until) {
				w.t.Fatalf("%s %s is not there after %s", what, name, patience)
			}
		}
	}
}

func (w crew) kill(name string) {
	_ = w.by[name].Process.Kill() // it may have ended
	_ = w.by[name].Wait()
}

// finished waits until n incidents are reported, and returns them by their point.
// It answers for the person, who does not reach the replica that asked: what it
// writes, that one has to hear of.
func (w crew) finished(n int, patience time.Duration) map[string]incident.Incident {
	w.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		list, err := w.store.List(w.t.Context(), store.Filter{})
		if err != nil {
			w.t.Fatal(err)
		}
		by, missing := map[string]incident.Incident{}, []string{}
		for _, inc := range list {
			by[inc.Target.Cgroup] = inc
			if inc.Phase == incident.AwaitingApproval && inc.Approval == nil {
				err := w.store.Approve(w.t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}, 1)
				if err != nil && !store.Refused(err) { // r1 answers too
					w.t.Fatal(err)
				}
			}
			if !hasKind(inc, "notified") {
				missing = append(missing, fmt.Sprintf("%s in %s", inc.Target.Cgroup, inc.Phase))
			}
		}
		if len(missing) == 0 && len(list) == n {
			return by
		}
		if time.Now().After(until) {
			w.t.Fatalf("%d incidents, want %d; not at their end after %s: %q", len(list), n, patience, missing)
		}
	}
}

func (w crew) world(point string) string { return filepath.Join(w.Dir, "world "+point) }

// judge looks at an incident that was taken over, and at its world: everything
// happened, in order, and nothing twice.
func (w crew) judge(point string, inc incident.Incident) {
	w.t.Helper()
	checkTimeline(w.t, inc)
	want, outcome := []string{"apply 0", "apply 1"}, incident.Fixed
	if strings.Contains(point, "undo") {
		want, outcome = append(want, "undo 1", "undo 0"), incident.Undone
	}
	if got := effects(w.t, w.world(point)); inc.Outcome != outcome || !slices.Equal(got, want) {
		w.t.Errorf("%s: outcome %s (%s), the world has seen %q; want %s and %q", point, inc.Outcome, inc.Reason, got, outcome, want)
	}
}

// TestReplicas runs what needs several processes and mostly waits, all at once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	server, own := postgres.Start(t), postgres.Start(t)
	world, alone := onPostgres(server), onPostgres(own)
	var wg sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		"killed":        func(t *testing.T) { testReplicaKilled(t, world(t)) },
		"hangs":         func(t *testing.T) { testReplicaHangs(t, world(t)) },
		"stops":         func(t *testing.T) { testReplicaStops(t, world(t)) },
		"database away": func(t *testing.T) { testDatabaseAway(t, alone(t), own) },
		"nobody heard":  testNobodyHeard,
	} {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()
}

// testReplicaKilled kills one of three replicas with an incident at every phase.
// The others bring all of them to their end in less than 15 s.
func testReplicaKilled(t *testing.T, c child) {
	w := newCrew(t, c)
	var names []string
	for point := range points() {
		names = append(names, point)
	}
	w.join(nil, "r2", "r3")
	w.join(names, "r1")
	w.await("reached", names, time.Minute)
	calls := map[string][]string{}
	for point, seen := range points() {
		if got := effects(t, w.world(point)); !slices.Equal(got, seen) {
			t.Errorf("%s: when r1 is killed the world has seen %q, want %q", point, got, seen)
		}
		calls[point] = readLines(w.world(point), "world")
	}
	before, err := w.store.List(t.Context(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	w.kill("r1")
	killed := time.Now()
	ended := w.finished(len(names), 30*time.Second)
	took := time.Since(killed)
	t.Logf("the others had finished %d incidents %s after the kill", len(ended), took.Round(time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("taking over took %s, want less than 15 s", took)
	}
	for point, inc := range ended {
		w.judge(point, inc)
	}
	for _, inc := range before { // what was recorded is not even asked for again
		for _, e := range inc.Executions {
			act := "apply"
			if e.Result == "undone" {
				act = "undo"
			}
			point := inc.Target.Cgroup
			for _, line := range readLines(w.world(point), "world")[len(calls[point]):] {
				if line == fmt.Sprintf("call %s %d", act, e.Step) {
					t.Errorf("%s: %q after the kill, though its result was recorded before", point, line)
				}
			}
		}
	}
}

// testReplicaHangs stops a replica for so long that it is taken for dead, with one
// incident right before the intent and one in the middle of the act. When it goes
// on it acts on neither, and ends.
func testReplicaHangs(t *testing.T, c child) {
	w := newCrew(t, c)
	names := []string{"decide 2", "before apply 0", "before undo 1"}
	w.join(nil, "r2")
	w.join(names, "r1")
	w.await("reached", names, time.Minute)
	r1 := w.by["r1"].Process
	if err := r1.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ended := w.finished(len(names), 30*time.Second)
	lines := map[string][]string{}
	for _, point := range names {
		lines[point] = readLines(w.world(point), "world")
		w.mark("go", point)
	}
	if err := r1.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.await("lost", []string{"r1"}, 10*time.Second)
	_ = w.by["r1"].Wait()
	for _, point := range names {
		w.judge(point, ended[point])
		if got := readLines(w.world(point), "world"); !slices.Equal(got, lines[point]) {
			t.Errorf("%s: r1 went on: %q, and before %q", point, got, lines[point])
		}
	}
	for _, inc := range w.finished(len(names), time.Second) {
		if was := ended[inc.Target.Cgroup]; len(inc.Timeline) != len(was.Timeline) {
			t.Errorf("r1 wrote to the timeline of %q", inc.Target.Cgroup)
		}
	}
}

// testReplicaStops: one that is told to stop gives its incidents away at once.
func testReplicaStops(t *testing.T, c child) {
	w := newCrew(t, c)
	names := []string{"diagnose 1", "awaiting"}
	w.join(nil, "r2")
	w.join(names, "r1")
	w.await("reached", names, time.Minute)
	if err := w.by["r1"].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := w.by["r1"].Wait(); err != nil {
		t.Errorf("r1: %v: %s", err, w.by["r1"].Stderr)
	}
	stopped := time.Now()
	for point, inc := range w.finished(len(names), 20*time.Second) {
		w.judge(point, inc)
	}
	if took := time.Since(stopped); took > 6*time.Second {
		t.Errorf("taking over from one that stopped took %s; nobody needs to wait until it is dead", took)
	}
}

// testDatabaseAway takes the database away from two replicas in the middle of
// incidents: hung for longer than the lease, and then killed and started again.
// Nothing is done twice and nothing is lost.
func testDatabaseAway(t *testing.T, c child, server *postgres.Server) {
	w := newCrew(t, c)
	names := []string{"diagnose 1", "decide 2", "before apply 0", "after apply 1", "before undo 1", "notify"}
	w.join(nil, "r2")
	w.join(names, "r1")
	w.await("reached", names, time.Minute)
	resume := server.Hang()
	time.Sleep(10 * time.Second) // what was under way has been told to end
	for _, point := range names {
		w.mark("go", point)
	}
	time.Sleep(time.Second)
	for point, seen := range points() {
		if slices.Contains(names, point) {
			if got := effects(t, w.world(point)); !slices.Equal(got, seen) {
				t.Errorf("%s: without a database the world has seen %q, want %q", point, got, seen)
			}
		}
	}
	resume()
	time.Sleep(300 * time.Millisecond)
	up := server.Down()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := w.store.Ingest(ctx, nil, 1); err == nil {
		t.Error("Ingest without a database")
	}
	up()
	for point, inc := range w.finished(len(names), 40*time.Second) {
		w.judge(point, inc)
	}
	for _, name := range []string{"r1", "r2"} {
		if _, err := os.Stat(filepath.Join(w.Dir, "lost "+name)); err == nil {
			t.Errorf("%s was taken for dead, though it could not be heard of", name)
		}
	}
}

// testNobodyHeard: while the database is away nobody can be heard of, so with it
// back nobody is dead yet.
func testNobodyHeard(t *testing.T) {
	server := postgres.Start(t)
	c := onPostgres(server)(t)
	var stores []*store.Store
	for range 2 {
		s, err := c.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		stores = append(stores, s)
	}
	other := stores[0]
	if err := other.Join(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	const deadAfter = 4 * time.Second
	startOn(t, stores[1], &stages{}, func(o *Options) { o.ExecutorID, o.DeadAfter = "watcher", deadAfter })
	if err := other.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(deadAfter / 4) // it is seen
	up := server.Down()       // and its lock is free
	time.Sleep(deadAfter)
	up()
	time.Sleep(deadAfter / 2) // in which it does not come to say that it is there
	err := other.Beat(t.Context())
	for n := 0; err != nil && !errors.Is(err, store.ErrLost) && n < 5; n++ {
		err = other.Beat(t.Context()) // the first finds that its connection is gone
	}
	if err != nil {
		t.Errorf("its beat after the database was away: %v", err)
	}
}
