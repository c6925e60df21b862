package diagnose

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// historian answers with a throttled past, or with what err says.
type historian struct {
	Measurer
	err          error
	since, until time.Time
}

func (h *historian) Recorded(_ context.Context, _ incident.Target, since, until time.Time) (incident.Measurement, error) {
	h.since, h.until = since, until
	return incident.Measurement{
		Node:   incident.Node{CPUs: 2},
		Window: incident.Window{Start: since, Seconds: until.Sub(since).Seconds(), Recorded: true},
		Probes: []incident.ProbeStatus{{Name: "threads", Status: incident.ProbeOK}, {Name: "cgroup", Status: incident.ProbeOK}},
		Ledger: incident.Ledger{Threads: 1, WallMS: 9000, States: map[incident.State]float64{incident.OnCPU: 3000, incident.Throttled: 6000}},
		Evidence: []incident.Evidence{
			{ID: "e1", Probe: "threads", Metric: "throttled", Value: 6000}, {ID: "e2", Probe: "cgroup", Metric: "quota", Subject: "/a", Value: 0.3},
			{ID: "e3", Probe: "cgroup", Metric: "nr_periods", Subject: "/a", Value: 90}, {ID: "e4", Probe: "cgroup", Metric: "nr_throttled", Subject: "/a", Value: 80},
		},
	}, h.err
}

func TestRecall(t *testing.T) {
	h := &historian{}
	d := Diagnoser{opts: DefaultOptions()}
	d.opts.Local, d.opts.NodeName = h, "n1"
	d.agent = newChoice(d.opts)
	start := time.Now().Add(-5 * time.Minute)
	clean := incident.Diagnosis{Target: incident.Target{Cgroup: "/a", Node: "n1"}, Verdict: incident.Clean}
	confirmed := incident.Diagnosis{Target: clean.Target, Verdict: incident.Confirmed, Findings: []incident.Finding{{Cause: incident.CPUBusy, Verdict: incident.Confirmed}}}

	// A fault that is over is confirmed by the past, and says so.
	got := d.Recall(t.Context(), clean, start)
	if f, ok := got.Finding(incident.CPUThrottled); !ok || !f.Recorded || !got.Window.Recorded || got.Also == nil || got.Also.Verdict != incident.Clean || got.Target != clean.Target {
		t.Errorf("%+v", got)
	}
	if !h.since.Equal(start.Add(-time.Minute)) || !h.until.Equal(start.Add(30*time.Second)) {
		t.Errorf("asked for %s to %s of an alert at %s", h.since, h.until, start)
	}
	// What is so now counts more than what was.
	got = d.Recall(t.Context(), confirmed, start)
	if got.Window.Recorded || got.Findings[0].Cause != incident.CPUBusy || got.Also == nil || !got.Also.Window.Recorded {
		t.Errorf("%+v", got)
	}
	// An alert that has just begun is in the live window, one without a start is not asked about.
	for _, at := range []time.Time{time.Now().Add(-time.Second), {}, time.Now().Add(time.Hour)} {
		if got := d.Recall(t.Context(), clean, at); got.Also != nil || got.Verdict != incident.Clean {
			t.Errorf("at %s: %+v", at, got)
		}
	}
	// A recent start: not beyond now.
	d.Recall(t.Context(), clean, time.Now().Add(-10*time.Second))
	if h.until.After(time.Now()) {
		t.Errorf("asked until %s", h.until)
	}
	h.err = errors.New("the flight recorder has 10:00:00 to 10:05:00")
	if got := d.Recall(t.Context(), clean, start); got.Also != nil || got.Verdict != incident.Clean {
		t.Errorf("nothing is kept: %+v", got)
	}
}
