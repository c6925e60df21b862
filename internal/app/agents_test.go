package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
)

// busyUntil is an agent that measures for somebody else for a while.
type busyUntil time.Time

func (b busyUntil) Measure(ctx context.Context, r agent.Request, _ func(agent.Progress)) (incident.Measurement, error) {
	if time.Now().Before(time.Time(b)) {
		return incident.Measurement{}, agent.ErrBusy
	}
	time.Sleep(r.Window)
	return incident.Measurement{}, ctx.Err()
}

// An agent that is at the longest window that kmend may ask for is waited for,
// also when the diagnosis itself takes as long as it may.
func TestBusyAgentIsWaitedFor(t *testing.T) {
	longest := agent.DefaultOptions().MaxWindow
	if longest != maxWindow {
		t.Fatalf("an agent takes windows of up to %s, the configuration of up to %s", longest, maxWindow)
	}
	for name, c := range map[string]struct {
		busy time.Duration
		want bool
	}{"one window": {longest + time.Second, true}, "for ever": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conf := DefaultConfig()
				conf.Agents.Timeout = incident.Duration(time.Second)
				o := diagnose.DefaultOptions()
				o.NodeName, o.Margin, o.Patience, o.Metrics = "n1", conf.Agents.Timeout.D(), patience, diagnose.NewMetrics(prometheus.NewRegistry())
				o.Local = measurer{busyUntil(time.Now().Add(c.busy)), noop.NewTracerProvider().Tracer(""), "local"}
				d, err := diagnose.New(o)
				if err != nil {
					t.Fatal(err)
				}
				// The Kubernetes API is asked twice, and is as slow as it may be.
				ctx, cancel := context.WithTimeout(t.Context(), longest+conf.measureTimeout()-2*apiTimeout)
				defer cancel()
				got, err := d.Diagnose(ctx, incident.Target{Cgroup: "/x"}, longest)
				if err != nil {
					t.Fatal(err)
				}
				if gaveUp := strings.Contains(got.Findings[0].Message, "busy"); gaveUp == c.want {
					t.Errorf("busy for %s: %s", c.busy, got.Findings[0].Message)
				}
			})
		})
	}
}

// Nodes are one whether a configuration or a label writes them with capitals.
func TestStaticNodesAsLabels(t *testing.T) {
	conf := DefaultConfig()
	conf.Agents.Local = false
	conf.Agents.Static = []StaticAgent{{Node: "Node-A.Example", URL: "http://127.0.0.1:1"}}
	a := &App{config: conf, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry(), tracer: noop.NewTracerProvider().Tracer("")}
	d, err := a.diagnoser("here", nil)
	if err != nil {
		t.Fatal(err)
	}
	target, ok, why := conf.mapping().Target(incident.Alert{Labels: map[string]string{"node": "NODE-a.example", "cgroup": "/sys/fs/cgroup/x"}})
	if !ok {
		t.Fatal(why)
	}
	got, err := d.Diagnose(t.Context(), target, time.Second)
	if err != nil || !strings.Contains(got.Findings[0].Message, "http://127.0.0.1:1") {
		t.Errorf("%+v, %v; want that the agent was asked", got.Findings, err)
	}
}
