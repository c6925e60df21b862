package respond

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Many senders deliver the same notification many times, while the incident is
// open and after it is closed: one incident, one workflow, one remediation.
func TestDuplicatesFromSeveralSenders(t *testing.T) {
	t.Parallel()
	const senders, times = 32, 10
	d := &stages{}
	b := start(t, d)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range times {
				if err := b.Ingest(t.Context(), firing("/a")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.reported()
	b.ingest(firing("/a")) // the repeat interval
	inc := b.only()
	checkTimeline(t, inc)
	if inc.Outcome != incident.Fixed || inc.Deliveries != senders*times+1 {
		t.Errorf("outcome %s, %d deliveries, want fixed and %d", inc.Outcome, inc.Deliveries, senders*times+1)
	}
	notes := d.notes()
	for _, once := range []string{"plan", "apply 0", "apply 1", "notify fixed"} {
		if n := len(slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return s != once })); n != 1 {
			t.Errorf("%q happened %d times", once, n)
		}
	}
}

// The alert that fires anew long after the end is a new incident.
func TestNewFiringIsANewIncident(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{}, func(o *Options) { o.ExtendWithin = time.Nanosecond })
	n := firing("/a")
	b.ingest(n)
	b.reported()
	b.ingest(resolvedOf(n))
	again := firing("/a")
	again.Alerts[0].StartsAt = again.Alerts[0].StartsAt.Add(time.Hour)
	b.ingest(again)
	list, err := b.store.List(t.Context(), store.Filter{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d incidents, %v; want 2", len(list), err)
	}
	if old := list[1]; old.Outcome != incident.Fixed || !hasKind(old, "alert_resolved") {
		t.Errorf("the first incident: %s, %v", old.Outcome, kinds(old))
	}
}

// An alert that flaps is one incident, which is diagnosed anew each time.
func TestFlappingIsOneIncident(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{})
	const times = 5
	for i := range times {
		n := firing("/a")
		n.Alerts[0].StartsAt = n.Alerts[0].StartsAt.Add(time.Duration(i) * time.Hour)
		b.ingest(n)
		b.reported()
		b.ingest(resolvedOf(n))
	}
	inc := b.only()
	if inc.Episode != times || len(inc.Episodes) != times || inc.Diagnosis == nil || inc.Root() != inc.Episodes[0].ID {
		t.Errorf("episode %d of %+v", inc.Episode, inc.Episodes)
	}
	for _, e := range inc.Episodes {
		episode, err := b.store.Get(t.Context(), e.ID)
		if err != nil || episode.Outcome != incident.Fixed {
			t.Errorf("%s: %s, %v", e.ID, episode.Outcome, err)
		}
		checkTimeline(t, episode)
	}
}

func TestOneIncidentPerTarget(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{})
	n := firing("/a")
	n.Alerts = append(n.Alerts, firing("/b").Alerts[0], firing("").Alerts[0], firing("/a").Alerts[0])
	n.Alerts[3].Fingerprint = "another"
	b.ingest(n)
	list, err := b.store.List(t.Context(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, inc := range list {
		got[inc.Target.String()] = len(inc.Alerts)
	}
	if len(list) != 3 || got["cgroup /a"] != 2 || got["cgroup /b"] != 1 || got["no target"] != 1 {
		t.Errorf("targets and their alerts: %v", got)
	}
}

// What the sender left out is on the incident, where a person looks.
func TestAlertsLeftOut(t *testing.T) {
	t.Parallel()
	for _, left := range []int{0, 7} {
		b := start(t, &stages{})
		n := firing("/a")
		n.TruncatedAlerts = left
		b.ingest(n)
		first := b.only().Timeline[0]
		says := strings.Contains(first.Message, "7 more alerts were left out by the sender (max_alerts)") && first.Fields["left_out"] == "7"
		if says != (left == 7) {
			t.Errorf("with %d left out: %q, %v", left, first.Message, first.Fields)
		}
	}
}

func TestResolvedWhileMeasuring(t *testing.T) {
	t.Parallel()
	measuring := make(chan struct{})
	d := &stages{diagnose: func(ctx context.Context, _ incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		close(measuring)
		<-ctx.Done() // it is cut short
		return incident.Diagnosis{}, ctx.Err()
	}}
	b := start(t, d, func(o *Options) { o.MeasureTimeout = time.Hour })
	n := firing("/a")
	b.ingest(n)
	<-measuring
	b.ingest(resolvedOf(n))
	inc := b.reported()
	checkTimeline(t, inc)
	if inc.Outcome != incident.Superseded || inc.Phase != incident.ResolvedPhase {
		t.Errorf("outcome %s", inc.Outcome)
	}
	b.ingest(n) // a retry that comes late
	if inc = b.only(); inc.Outcome != incident.Superseded {
		t.Errorf("a late retry: %+v", inc.Outcome)
	}
}

func TestResolvedWhileAwaiting(t *testing.T) {
	t.Parallel()
	d := &stages{decide: askPerson}
	b := start(t, d)
	n := firing("/a")
	b.ingest(n)
	waiting := b.awaiting()
	b.ingest(resolvedOf(n))
	inc := b.reported()
	if inc.Outcome != incident.Superseded || slices.Contains(d.notes(), "apply 0") {
		t.Errorf("outcome %s, asked %q", inc.Outcome, d.notes())
	}
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: waiting.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("an answer after the alert resolved: %v", err)
	}
}

// A delivery that closed the incident and is slow to say so interrupts nothing
// that comes after the stages: the report goes out.
func TestInterruptComesLate(t *testing.T) {
	t.Parallel()
	var b bench
	var notified error
	d := &stages{diagnose: saying(incident.Clean, "clean"), notify: func(ctx context.Context, inc incident.Incident) error {
		b.running.interrupt(inc.ID, store.ErrClosed)
		notified = ctx.Err()
		return notified
	}}
	b = start(t, d)
	b.ingest(firing("/a"))
	if inc := b.reported(); !hasKind(inc, "notified") || notified != nil {
		t.Errorf("the report was cut short: %v, %v", notified, kinds(inc))
	}
}

// A resolved alert does not stop an incident that has acted: it is verified. The
// steps that were still to come are not needed.
func TestResolvedWhileActing(t *testing.T) {
	t.Parallel()
	var b bench
	n := firing("/a")
	d := &stages{apply: func(ctx context.Context, _ incident.Plan, i int) (incident.Execution, error) {
		if err := b.Ingest(ctx, resolvedOf(n)); err != nil {
			return incident.Execution{}, err
		}
		return incident.Execution{Result: "applied"}, nil
	}}
	b = start(t, d)
	b.ingest(n)
	inc := b.reported()
	checkTimeline(t, inc)
	if inc.Outcome != incident.Fixed || !hasKind(inc, "alert_resolved") || slices.Contains(d.notes(), "apply 1") {
		t.Errorf("outcome %s, timeline %v, asked %q", inc.Outcome, kinds(inc), d.notes())
	}
}

// The alert resolves in the very moment in which kmend begins to act: either it
// is superseded and nothing was done, or it acted and was verified.
func TestResolvedRacesWithActing(t *testing.T) {
	t.Parallel()
	outcomes := map[incident.Outcome]int{}
	for i := range 10 {
		var b bench
		n := firing("/a")
		var wg sync.WaitGroup
		asked := 0
		d := &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
			if asked++; asked == 2 { // immediately before the first step
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 200 * time.Microsecond)
					b.ingest(resolvedOf(n))
				})
				time.Sleep(time.Millisecond)
			}
			return incident.Decision{Effect: incident.Allow}
		}}
		b = start(t, d)
		b.ingest(n)
		inc := b.reported()
		wg.Wait()
		acted := slices.Contains(d.notes(), "apply 0")
		if acted == (inc.Outcome == incident.Superseded) || acted != (inc.Outcome == incident.Fixed) {
			t.Errorf("acted %v, outcome %s", acted, inc.Outcome)
		}
		outcomes[inc.Outcome]++
	}
	t.Logf("outcomes: %v", outcomes)
}

func TestFull(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	b := start(t, &stages{decide: askPerson}, func(o *Options) { o.QueueLimit = 2; o.Metrics = NewMetrics(reg) })
	b.ingest(firing("/a"))
	b.ingest(firing("/b"))
	if err := b.Ingest(t.Context(), firing("/c")); !errors.Is(err, ErrFull) {
		t.Fatalf("the third incident: %v, want ErrFull", err)
	}
	both := firing("/a") // the part that is about an open incident is taken
	both.Alerts[0].StartsAt = both.Alerts[0].StartsAt.Add(time.Hour)
	both.Alerts = append(both.Alerts, firing("/c").Alerts...)
	if err := b.Ingest(t.Context(), both); !errors.Is(err, ErrFull) {
		t.Errorf("a notification that fits by half: %v", err)
	}
	b.ingest(firing("/a")) // what is known still gets through
	list, err := b.store.List(t.Context(), store.Filter{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	if a := list[1]; a.Deliveries != 3 || len(a.Alerts) != 1 || !a.Alerts[0].StartsAt.Equal(firing("/a").Alerts[0].StartsAt) {
		t.Errorf("%d deliveries and alerts %v after one that was refused in part", a.Deliveries, a.Alerts)
	}
	gone := resolvedOf(both) // a resolution does not wait for room either
	gone.Alerts[1] = firing("/c").Alerts[0]
	if err := b.Ingest(t.Context(), gone); !errors.Is(err, ErrFull) {
		t.Errorf("a resolution with a new target: %v", err)
	}
	for inc := (incident.Incident{}); !hasKind(inc, "notified"); time.Sleep(2 * time.Millisecond) {
		if inc, err = b.store.Get(t.Context(), list[1].ID); err != nil {
			t.Fatal(err)
		}
		if inc.Outcome != "" && inc.Outcome != incident.Superseded {
			t.Fatalf("outcome %s", inc.Outcome)
		}
	}
	want := `
# HELP kmend_notifications_total Notifications received, by what they were answered.
# TYPE kmend_notifications_total counter
kmend_notifications_total{result="accepted"} 3
kmend_notifications_total{result="full"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "kmend_notifications_total"); err != nil {
		t.Error(err)
	}
}

// Two alert groups about one target: the second incident waits for the first,
// measures again, and finds that the first was its cure.
func TestOneRemediationPerTarget(t *testing.T) {
	t.Parallel()
	var measured, acting, most atomic.Int32
	d := &stages{}
	d.diagnose = func(ctx context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		if measured.Add(1) <= 2 {
			return throttled(tg), nil
		}
		return saying(incident.Clean, "the kernel is clean")(ctx, tg, 0)
	}
	d.apply = func(context.Context, incident.Plan, int) (incident.Execution, error) {
		most.Store(max(most.Load(), acting.Add(1)))
		time.Sleep(50 * time.Millisecond)
		acting.Add(-1)
		return incident.Execution{Result: "applied"}, nil
	}
	b := start(t, d)
	other := firing("/a")
	other.GroupKey = "latency"
	b.ingest(firing("/a"))
	b.ingest(other)
	var outcomes []string
	for deadline := time.Now().Add(time.Minute); len(outcomes) < 2 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		list, err := b.store.List(t.Context(), store.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		outcomes = nil
		for _, inc := range list {
			if hasKind(inc, "notified") {
				checkTimeline(t, inc)
				outcomes = append(outcomes, string(inc.Outcome))
			}
		}
	}
	slices.Sort(outcomes)
	if !slices.Equal(outcomes, []string{"clean", "fixed"}) || most.Load() != 1 {
		t.Errorf("outcomes %v, %d acted at the same time", outcomes, most.Load())
	}
}

func TestDiagnosesAtOnce(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	d := &stages{diagnose: func(ctx context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(50 * time.Millisecond)
		now.Add(-1)
		return saying(incident.Clean, "clean")(ctx, tg, 0)
	}}
	b := start(t, d, func(o *Options) {
		o.MaxDiagnosesPerNode = 3
		o.TargetOf = func(a incident.Alert) (incident.Target, bool, string) {
			return incident.Target{Node: "node-1", Cgroup: a.Labels["cgroup"]}, true, ""
		}
	})
	for i := range 20 {
		b.ingest(firing("/" + strings.Repeat("x", i+1)))
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		open, err := b.store.Waiting(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("open after a minute: %v, %v", open, err)
		}
		if len(open) == 0 {
			break
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d diagnoses at once on one node, want 3", most.Load())
	}
	if len(b.room.nodes) != 0 {
		t.Errorf("%d nodes are remembered after the last diagnosis", len(b.room.nodes))
	}
}

// The time from the call of Ingest to the call of the diagnoser.
func TestLatencyToTheDiagnoser(t *testing.T) {
	t.Parallel()
	called := make(chan time.Time, 1)
	d := &stages{diagnose: func(ctx context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		called <- time.Now()
		return saying(incident.Clean, "clean")(ctx, tg, 0)
	}}
	b := start(t, d)
	var took []time.Duration
	for i := range 20 {
		from := time.Now()
		b.ingest(firing("/" + strings.Repeat("x", i+1)))
		took = append(took, (<-called).Sub(from))
	}
	slices.Sort(took)
	t.Logf("from Ingest to the diagnoser: median %s, worst %s", took[10], took[19])
	if took[10] > 400*time.Millisecond {
		t.Errorf("the median is %s", took[10])
	}
}
