package diagnose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/incident"
)

// measurer is an agent as a func.
type measurer func(ctx context.Context, target incident.Target) (incident.Measurement, error)

func (f measurer) Measure(ctx context.Context, target incident.Target, _ time.Duration, progress func(string)) (incident.Measurement, error) {
	progress("asked")
	return f(ctx, target)
}

// idle is an agent on a node that finds a target asleep.
func idle(node string) measurer {
	return func(_ context.Context, target incident.Target) (incident.Measurement, error) {
		target.Cgroup = "/sys/fs/cgroup/found"
		return incident.Measurement{Target: target, Node: incident.Node{Name: node, CPUs: 2}, Window: incident.Window{Start: time.Now(), Seconds: 3}}, nil
	}
}

func diagnoser(t *testing.T, change func(*Options)) *Diagnoser {
	t.Helper()
	opts := DefaultOptions()
	opts.NodeName, opts.Metrics = "self", NewMetrics(prometheus.NewRegistry())
	change(&opts)
	d, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAgentChoice(t *testing.T) {
	local := func(o *Options) { o.Local = idle("self") }
	remote := func(o *Options) {
		o.Static = map[string]string{"n2": "http://n2", "n3": "http://n3", "self": "http://self", "down": "bad://"}
		o.Dial = func(url string) (Measurer, error) {
			if url == "bad://" {
				return nil, errors.New("scheme bad is not http or https")
			}
			return idle(map[string]string{"http://n2": "n2.example.org", "http://n3": "n4"}[url]), nil
		}
	}
	both := func(o *Options) { local(o); remote(o) }
	for name, c := range map[string]struct {
		opts   func(*Options)
		target incident.Target
		node   string // of the agent that answered
		says   string // or the reason why none did
	}{
		"standalone, no node":       {local, incident.Target{PID: 1}, "self", ""},
		"standalone, own node":      {local, incident.Target{PID: 1, Node: "SELF.example.org"}, "self", ""},
		"standalone, another node":  {local, incident.Target{PID: 1, Node: "n2"}, "", "is on node n2, this is node self"},
		"pods of a name":            {local, incident.Target{Namespace: "shop", Workload: "Deployment/cart"}, "", "deployment shop/cart is measured by its pods"},
		"standalone, no agent":      {func(o *Options) { o.LocalAbsent = "this kernel has no BTF" }, incident.Target{PID: 1}, "", "this kernel has no BTF"},
		"static":                    {both, incident.Target{PID: 1, Node: "n2"}, "n2.example.org", ""},
		"own node, before static":   {both, incident.Target{PID: 1, Node: "self"}, "self", ""},
		"no node":                   {both, incident.Target{PID: 1}, "", "which node?"},
		"not in the list":           {both, incident.Target{PID: 1, Node: "n9"}, "", "agents.static has: down, n2, n3, self"},
		"the list is wrong":         {both, incident.Target{PID: 1, Node: "n3"}, "", `says that it is on node "n4"`},
		"not dialled":               {both, incident.Target{PID: 1, Node: "down"}, "", "scheme bad"},
		"own node without an agent": {remote, incident.Target{PID: 1, Node: "self"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := diagnoser(t, c.opts).Diagnose(t.Context(), c.target, 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if c.says != "" {
				if d.Verdict != incident.Inconclusive || !strings.Contains(d.Findings[0].Message, c.says) || d.Kind != "Diagnosis" || d.Target != c.target {
					t.Fatalf("got %s %+v of %+v; want inconclusive with %q", d.Verdict, d.Findings, d.Target, c.says)
				}
				return
			}
			if d.Node.Name != c.node || d.Target.Cgroup != "/sys/fs/cgroup/found" || d.Target.PID != c.target.PID {
				t.Fatalf("answered by %q about %+v; want node %q", d.Node.Name, d.Target, c.node)
			}
		})
	}
}

func TestRefusingAndSlowAgentsAreInconclusive(t *testing.T) {
	d := diagnoser(t, func(o *Options) {
		o.Local = measurer(func(context.Context, incident.Target) (incident.Measurement, error) {
			return incident.Measurement{}, errors.New("cgroup /x is gone")
		})
	})
	got, err := d.Diagnose(t.Context(), incident.Target{PID: 1}, time.Second)
	if err != nil || got.Verdict != incident.Inconclusive || got.Findings[0].Message != "the agent on this node: cgroup /x is gone" {
		t.Fatalf("refusing: %+v, %v", got.Findings, err)
	}
	if n := testutil.ToFloat64(d.opts.Metrics.diagnoses.WithLabelValues("inconclusive", "")); n != 1 {
		t.Errorf("counter = %v; want 1", n)
	}

	release := make(chan struct{})
	defer close(release)
	d = diagnoser(t, func(o *Options) {
		o.Margin = time.Second
		o.Local = measurer(func(context.Context, incident.Target) (incident.Measurement, error) {
			<-release // does not even look at its context
			return incident.Measurement{}, nil
		})
	})
	got, err = d.Diagnose(t.Context(), incident.Target{PID: 1}, 50*time.Millisecond)
	if err != nil || got.Verdict != incident.Inconclusive || !strings.Contains(got.Findings[0].Message, "no answer within 1.05s") {
		t.Fatalf("slow: %+v, %v", got.Findings, err)
	}
}

func TestBusyAgentIsAskedAgain(t *testing.T) {
	asked := 0
	d := diagnoser(t, func(o *Options) {
		o.Patience = time.Second
		o.Local = measurer(func(ctx context.Context, target incident.Target) (incident.Measurement, error) {
			if asked++; asked < 3 || target.PID == 2 {
				return incident.Measurement{}, fmt.Errorf("4 measurements are under way: %w", ErrBusy)
			}
			return idle("self")(ctx, target)
		})
	})
	got, err := d.Diagnose(t.Context(), incident.Target{PID: 1}, time.Second)
	if err != nil || got.Node.Name != "self" || asked != 3 {
		t.Fatalf("asked %d times: %+v, %v; want an answer at the third", asked, got.Findings, err)
	}
	got, err = d.Diagnose(t.Context(), incident.Target{PID: 2}, time.Second)
	if err != nil || got.Verdict != incident.Inconclusive || !strings.Contains(got.Findings[0].Message, "it was asked for 1s") {
		t.Fatalf("busy for ever: %+v, %v", got.Findings, err)
	}
}

func TestEndOfContextIsAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := diagnoser(t, func(o *Options) {
		o.Local = measurer(func(ctx context.Context, _ incident.Target) (incident.Measurement, error) {
			cancel()
			<-ctx.Done()
			return incident.Measurement{}, ctx.Err()
		})
	})
	if _, err := d.Diagnose(ctx, incident.Target{PID: 1}, time.Second); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v; want context.Canceled, for the diagnosis is to be made again", err)
	}
}

func TestAgentCannotPointElsewhere(t *testing.T) {
	asked := incident.Target{Cluster: "c", Node: "n", Namespace: "a", Pod: "p", PodUID: "u", Container: "x", ContainerID: "i"}
	got := merge(asked, incident.Target{Cluster: "evil", Node: "evil", Namespace: "evil", Pod: "evil", PodUID: "evil", Container: "evil", ContainerID: "evil", Unit: "evil", PID: 9, Cgroup: "/cg"})
	want := asked
	want.Cgroup = "/cg"
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"NodeName": func(o *Options) { o.NodeName = "" },
		"Margin":   func(o *Options) { o.Margin = 0 },
		"Dial":     func(o *Options) { o.Static = map[string]string{"a": "b"} },
		"Kubernetes": func(o *Options) {
			o.AgentPods = &AgentPods{}
			o.Dial = func(string) (Measurer, error) { return nil, nil }
		},
		"Logger":         func(o *Options) { o.Logger = nil },
		"Metrics is nil": func(o *Options) { o.Metrics = nil },
	} {
		opts := DefaultOptions()
		opts.NodeName, opts.Metrics = "self", NewMetrics(prometheus.NewRegistry())
		change(&opts)
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error = %v; want one that names it", name, err)
		}
	}
}
