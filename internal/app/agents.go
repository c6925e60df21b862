package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/incident"
)

// maxWindow is the longest measurement that a configuration or a runbook may ask
// for, and an agent takes.
const maxWindow = time.Minute

// patience is how long a busy agent is asked again: it may be at the longest
// window of somebody else, and then others have their turn too. Giving up earlier
// would make a verification inconclusive, and undo what helped.
const patience = maxWindow + 15*time.Second

// measureTimeout is what a diagnosis may take on top of its window: finding the
// pod and its agent, asking while it is busy, and the agent's own margin.
func (c Config) measureTimeout() time.Duration {
	return 2*apiTimeout + patience + 2*c.Agents.Timeout.D()
}

// asker is what an agent in this process and one across the network have in common.
type asker interface {
	Measure(ctx context.Context, r agent.Request, progress func(agent.Progress)) (incident.Measurement, error)
}

// measurer makes a diagnose.Measurer of an agent: diagnose does not know the
// agent's package, which links the probes.
type measurer struct {
	asker
	tracer trace.Tracer
	where  string // "local", or the agent's URL
}

func (m measurer) Measure(ctx context.Context, target incident.Target, window time.Duration, progress func(string)) (incident.Measurement, error) {
	got, err := m.asked(ctx, window, func(ctx context.Context) (incident.Measurement, error) {
		return m.asker.Measure(ctx, agent.Request{Target: target, Window: window}, func(p agent.Progress) { progress(p.Message) })
	})
	if errors.Is(err, agent.ErrBusy) {
		err = busyError{err}
	}
	return got, err
}

// Recorded makes it a diagnose.Historian.
func (m measurer) Recorded(ctx context.Context, target incident.Target, since, until time.Time) (incident.Measurement, error) {
	return m.asked(ctx, until.Sub(since), func(ctx context.Context) (incident.Measurement, error) {
		return m.asker.Measure(ctx, agent.Request{Target: target, Since: since, Until: until}, nil)
	})
}

// busyError is an error that diagnose understands, with the agent's words.
type busyError struct{ error }

func (b busyError) Unwrap() []error { return []error{b.error, diagnose.ErrBusy} }

// localAgent is the agent of this process; why says why there is none.
func (a *App) localAgent(node string) (local *agent.Agent, why string) {
	if !a.config.Agents.Local {
		return nil, "agents.local is false"
	}
	o := agent.DefaultOptions()
	o.CRISocket = a.config.Agents.CRISocket
	o.NodeName, o.Version, o.Logger, o.Registerer = node, a.opts.Version, a.log, a.registry
	o.NoRecorder = "agents.recorder is false"
	if a.config.Agents.Recorder {
		var err error
		if o, a.recorder, err = agent.WithRecorder(o, recorder.DefaultOptions()); err != nil {
			a.log.Warn("nothing is recorded", "reason", err) // the agent says so to whoever asks about the past
		} else {
			a.stops.add("flight recorder", func(context.Context) error { return a.recorder.Close() })
		}
	}
	local, err := agent.New(o)
	if err != nil {
		a.log.Error("this node is not measured", "error", err)
		return nil, err.Error()
	}
	a.local = local
	a.stops.add("local agent", func(context.Context) error { return local.Close() })
	// Loading the probe takes longer than all the rest of an answer: not at the first alert.
	if err := local.Warm(); err != nil {
		a.log.Error("this node is not measured", "error", err) // it answers, and says so
	}
	return local, ""
}

// record reads the flight recorder until ctx ends or the program stops.
func (a *App) record(ctx context.Context) {
	if err := a.recorder.Run(ctx); err != nil {
		a.log.Error("nothing more is recorded", "error", err)
	}
}

// answer serves the local agent on its socket until ctx ends.
func (a *App) answer(ctx context.Context) {
	if err := agent.ServeSocket(ctx, a.local, a.config.Agents.Socket, a.log); err != nil {
		a.log.Error("nobody on this node can ask about the past", "error", err)
	}
}

// capable says what the local agent cannot do on this kernel.
func capable(local *agent.Agent) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := local.Capabilities(ctx)
		if err != nil {
			return err
		}
		for _, p := range c.Probes {
			if p.Status != incident.ProbeOK {
				err = errors.Join(err, fmt.Errorf("probe %s: %s", p.Name, p.Reason))
			}
		}
		return err
	}
}

// client is how an agent is asked.
func (c Agents) client(url string) agent.ClientOptions {
	o := agent.DefaultClientOptions()
	o.URL, o.CAFile, o.TokenFile, o.ServerName, o.Timeout = url, c.CAFile, c.TokenFile, c.ServerName, c.Timeout.D()
	return o
}

// diagnoser joins the agents, local and remote, and the cluster.
func (a *App) diagnoser(node string, cluster kubernetes.Interface) (*diagnose.Diagnoser, error) {
	c := a.config.Agents
	o := diagnose.DefaultOptions()
	o.NodeName, o.Kubernetes, o.Margin, o.Patience = node, cluster, c.Timeout.D(), patience
	o.Logger, o.Metrics = a.log, diagnose.NewMetrics(a.registry)
	local, why := a.localAgent(node)
	if local != nil {
		o.Local = measurer{local, a.tracer, "local"}
		a.checks = append(a.checks, check{name: "agent", run: capable(local)})
	}
	o.LocalAbsent = why
	o.Static = map[string]string{}
	for _, s := range c.Static {
		o.Static[strings.ToLower(s.Node)] = s.URL // as the mapping writes nodes
	}
	if p := c.Kubernetes; p != nil {
		o.AgentPods = &diagnose.AgentPods{Namespace: p.Namespace, Selector: p.Selector, Port: p.Port}
	}
	o.Dial = func(url string) (diagnose.Measurer, error) {
		client, err := agent.NewClient(c.client(url))
		if err != nil {
			return nil, err
		}
		return measurer{client, a.tracer, url}, nil
	}
	return diagnose.New(o)
}
