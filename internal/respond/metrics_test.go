package respond

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/kmend/kmend/incident"
)

// shows waits for lines of what a registry exports: the gauges are those of the last sweep.
func shows(t *testing.T, reg *prometheus.Registry, lines ...string) {
	t.Helper()
	var text string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := testutil.GatherAndFormat(reg, expfmt.TypeTextPlain, metricNames(lines)...)
		if err != nil {
			t.Fatal(err)
		}
		text = "\n" + string(b)
		missing := ""
		for _, l := range lines {
			if !strings.Contains(text, "\n"+l+"\n") {
				missing = l
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in\n%s", missing, text)
		}
	}
}

func metricNames(lines []string) (names []string) {
	for _, l := range lines {
		name, _, _ := strings.Cut(l, "{")
		name, _, _ = strings.Cut(name, " ")
		names = append(names, strings.TrimSuffix(name, "_count"))
	}
	return names
}

// An incident that waits is in the gauges of its phase, one that has ended in its
// outcome's and cause's counter.
func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	b := start(t, &stages{decide: askPerson}, func(o *Options) { o.Metrics = NewMetrics(reg) })
	shows(t, reg, `kmend_incidents_in_phase{phase="awaiting_approval"} 0`, `kmend_incidents_oldest_seconds{phase="awaiting_approval"} 0`,
		`kmend_incidents_total{cause="cpu.throttled",outcome="undone"} 0`, `kmend_denials_total{rule="breaker"} 0`)
	b.ingest(firing("/a"))
	b.awaiting()
	shows(t, reg, `kmend_incidents_open 1`, `kmend_incidents_in_phase{phase="awaiting_approval"} 1`, `kmend_incidents_in_phase{phase="diagnosing"} 0`)
	oldest := func() float64 {
		return testutil.ToFloat64(b.metrics.oldest.WithLabelValues(string(incident.AwaitingApproval)))
	}
	for first, deadline := oldest(), time.Now().Add(30*time.Second); oldest() <= first; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the oldest has been in its phase for %g s at every sweep", first)
		}
	}
	inc := b.only()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	b.reported()
	shows(t, reg, `kmend_incidents_total{cause="cpu.throttled",outcome="fixed"} 1`, `kmend_incidents_total{cause="",outcome="fixed"} 0`,
		`kmend_time_to_cause_seconds_count 1`, `kmend_confirm_overhead_seconds_count 1`,
		`kmend_incidents_open 0`, `kmend_incidents_in_phase{phase="awaiting_approval"} 0`, `kmend_incidents_oldest_seconds{phase="awaiting_approval"} 0`)
}

// Whoever said no is counted, whichever no decided.
func TestDenialsAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	d := &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
		return incident.Decision{Effect: incident.Deny, Policy: "p", Rule: "window", Answers: []incident.Answer{
			{Policy: "p", Rule: "window", Effect: incident.Deny}, {Policy: "p", Rule: "breaker", Effect: incident.Deny}, {Policy: "p", Rule: "cooldown", Effect: incident.Allow}}}
	}}
	b := start(t, d, func(o *Options) { o.Metrics = NewMetrics(reg) })
	b.ingest(firing("/a"))
	if inc := b.reported(); inc.Outcome != incident.Denied {
		t.Fatalf("outcome %s", inc.Outcome)
	}
	shows(t, reg, `kmend_denials_total{rule="breaker"} 1`, `kmend_denials_total{rule="window"} 1`)
	if n := testutil.CollectAndCount(b.metrics.denials); n != 2 {
		t.Errorf("%d rules have said no, want 2", n)
	}
	b.metrics.denied(incident.Decision{Effect: incident.Deny, Rule: "alone"})
	shows(t, reg, `kmend_denials_total{rule="alone"} 1`)
}

// A pause shows, and so does that nobody knows of one.
func TestPausedShows(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	var unknown atomic.Bool
	brake := &brake{}
	d := &stages{paused: func() (string, error) {
		if unknown.Load() {
			return "", errors.New("the API server is away")
		}
		return brake.paused()
	}}
	start(t, d, func(o *Options) { o.Metrics = NewMetrics(reg) })
	shows(t, reg, `kmend_paused 0`)
	brake.on.Store(true)
	shows(t, reg, `kmend_paused 1`)
	brake.on.Store(false)
	shows(t, reg, `kmend_paused 0`)
	unknown.Store(true)
	shows(t, reg, `kmend_paused 1`)
}
