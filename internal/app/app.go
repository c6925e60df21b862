package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/diagnose/workloads"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/internal/respond"
)

// Options are what the program says and the configuration does not.
type Options struct {
	Version string
	Logger  *slog.Logger
}

// App is a wired server: New made it, Run runs it once.
type App struct {
	config    Config
	opts      Options
	log       *slog.Logger
	registry  *prometheus.Registry
	stops     cleanups
	checks    []check
	responder *respond.Responder
	recorder  *recorder.Recorder // of the local agent; nil: nothing is recorded
	slack     *slackApp          // nil: not configured
	pagerduty *pagerdutyApp      // nil: not configured
	llm       *llmApp            // nil: no model is asked
	tracer    trace.Tracer
	traced    bool // there is somebody to send spans to
	capture   bool // what models are asked and answer is in their spans
	posters   watchers
	workloads *workloads.Workloads // nil: no cluster is configured
	local     *agent.Agent         // of this node; nil: it is not measured
	now       current
	reloads   *reloads
	fleet     *fleet
	templates []string // files of those in use
	arrivals  *arrivals
	started   atomic.Bool
	listener  net.Listener
	server    *http.Server
}

// New opens and wires everything, and listens: a caller's connection waits until
// Run answers. After an error everything is closed again.
func New(ctx context.Context, c Config, opts Options) (_ *App, err error) {
	a := &App{config: c, opts: opts, log: opts.Logger, registry: prometheus.NewRegistry()}
	a.stops.log = a.log
	a.arrivals = &arrivals{since: time.Now(), registry: a.registry}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stops.run(context.WithoutCancel(ctx)))
		}
	}()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, path := range c.exposed() {
		a.log.Warn("every user of this machine may read a secret; run chmod o-r on it", "file", path)
	}
	if a.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listening: %w; set listen to an address that is free", err)
	}
	a.stops.add("listener", func(context.Context) error { return closed(a.listener.Close()) })
	if err = a.trace(ctx); err != nil {
		return nil, err
	}
	if err = a.wire(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// wire makes the stages in the order of the flow.
func (a *App) wire(ctx context.Context) error {
	db, err := a.config.open(ctx)
	if err != nil {
		return err
	}
	a.stops.add("store", func(context.Context) error { return db.Close() })
	node, err := a.config.nodeName()
	if err != nil {
		return err
	}
	cluster, dyn, err := a.config.cluster(a.opts.Version)
	if err != nil {
		return err
	}
	a.checks = []check{
		{"storage", true, a.config.storage(db)},
		{"responder", true, func(context.Context) error {
			if !a.started.Load() {
				return errors.New("open incidents are being taken up")
			}
			return nil
		}},
	}
	diagnoser, err := a.diagnoser(node, cluster)
	if err != nil {
		return err
	}
	executor, err := a.executor(node, cluster, dyn)
	if err != nil {
		return err
	}
	a.reloads = &reloads{log: a.log, metrics: NewMetrics(a.registry)}
	a.checks = append(a.checks, check{name: "configuration", run: a.reloads.broken})
	if err = a.reloads.add("runbooks", func() []string { return a.config.Runbooks }, a.loadRunbooks(executor.Specs())); err != nil {
		return err
	}
	switches := []guard.Switch{guard.Command{Pauses: db}}
	if err = a.reloads.add("policies", func() []string { return a.config.Policies }, a.loadPolicies(db, switches, cluster)); err != nil {
		return err
	}
	a.templates = a.config.TemplateFiles()
	if err = a.reloads.add("routes", a.routeFiles, a.loadRoutes); err != nil {
		return err
	}
	investigator, err := a.investigator()
	if err != nil {
		return err
	}
	a.fleet = &fleet{config: a.config.Agents, node: node, local: a.local, cluster: a.workloads, metrics: a.reloads.metrics, log: a.log, answers: map[string]agentAnswer{}}
	o := respond.DefaultOptions()
	o.Investigator = investigator
	o.Store, o.Diagnoser, o.Planner, o.Guard, o.Executor = db, diagnoser, &a.now, &a.now, executor
	o.TargetOf, o.Logger, o.Metrics = a.config.mapping().Target, a.log, respond.NewMetrics(a.registry)
	o.Tracer = a.tracer
	o.Window, o.ApprovalExpiry, o.QueueLimit = a.config.Diagnose.Window.D(), a.config.ApprovalExpiry.D(), a.config.Webhook.MaxOpenIncidents
	o.ExtendWithin, o.CorrelateWithin = a.config.ExtendWithin.D(), a.config.CorrelateWithin.D()
	if o.Retention, err = a.config.keeps(); err != nil {
		return err
	}
	o.MaxEvidenceAge = a.now.maxEvidenceAge
	o.MeasureTimeout = a.config.measureTimeout()
	if a.config.Slack != nil {
		if a.slack, err = newSlack(*a.config.Slack, &a.now, db, a.registry, a.log); err != nil {
			return err
		}
		o.Groups = a.slack.client
		a.posters = append(a.posters, a.slack.poster)
	}
	if a.config.LLM != nil {
		if a.llm, err = newLLM(*a.config.LLM, db, a.registry, a.log, a.traceModels); err != nil {
			return err
		}
	}
	if a.config.PagerDuty != nil {
		if a.pagerduty, err = newPagerDuty(*a.config.PagerDuty, &a.now, db, a.registry, a.log, a.llm); err != nil {
			return err
		}
		a.posters = append(a.posters, a.pagerduty.poster)
	}
	o.Watcher = a.posters
	if a.llm != nil {
		o.Watcher = append(watchers{a.llm.desk}, a.posters...)
	}
	if o.ExecutorID, err = a.config.replica(); err != nil {
		return err
	}
	if a.responder, err = respond.New(o); err != nil {
		return err
	}
	if a.slack != nil {
		if err = a.slack.listen(a.responder, a.config.Approvers, a.registry); err != nil {
			return err
		}
	}
	h, err := a.router(a.responder, db)
	if err != nil {
		return err
	}
	a.server = newServer(h, a.log)
	return nil
}

// Addr is where the server listens.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// Run takes up open incidents, serves until ctx ends, and stops everything in
// the opposite order of its making. Only the first call runs.
func (a *App) Run(ctx context.Context) error {
	stopping := context.WithoutCancel(ctx)
	serving := make(chan error, 1)
	go func() { serving <- a.server.Serve(a.listener) }()
	if a.recorder != nil {
		go a.record(ctx)
	}
	if a.local != nil && a.config.Agents.Socket != "" {
		answered := make(chan struct{})
		ctx, cancel := context.WithCancel(ctx)
		go func() { defer close(answered); a.answer(ctx) }()
		a.stops.add("agent socket", func(context.Context) error { cancel(); <-answered; return nil })
	}
	if a.workloads != nil {
		a.background(ctx, "view of the cluster", a.workloads.Run)
	}
	a.background(ctx, "reading again", a.reloads.run)
	a.background(ctx, "look at the agents", a.fleet.run)
	if a.slack != nil {
		a.background(ctx, "Slack", a.slack.run)
	}
	if a.pagerduty != nil {
		a.background(ctx, "PagerDuty", a.pagerduty.run)
	}
	if a.llm != nil {
		a.background(ctx, "summaries", func(ctx context.Context) { a.llm.run(ctx, a.posters) })
	}
	a.stops.add("HTTP server", func(ctx context.Context) error { return a.shutdown(ctx) })
	err := a.responder.Start(ctx)
	a.stops.add("responder", a.responder.Stop)
	if err != nil && ctx.Err() != nil {
		a.log.Info("stopping before everything was taken up", "reason", err)
		err = nil // told to stop: what is open goes on after the next start
	} else if err == nil {
		a.started.Store(true)
		a.log.Info("serving", "address", a.Addr().String(), "version", a.opts.Version, "dryRun", a.config.DryRun, "dataDir", a.config.DataDir)
		select {
		case <-ctx.Done():
			a.log.Info("stopping")
		case err = <-serving:
			err = fmt.Errorf("serving HTTP: %w", err)
		case <-a.responder.Lost():
			err = errors.New("another replica has taken over the incidents of this one, which has to be started again")
		}
	}
	a.started.Store(false)
	return errors.Join(err, a.stops.run(stopping))
}

// background runs f until a's clean-ups stop it.
func (a *App) background(ctx context.Context, name string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); f(ctx) }()
	a.stops.add(name, func(context.Context) error { cancel(); <-ended; return nil })
}

// Stop closes an App that New made and Run never ran.
func (a *App) Stop(ctx context.Context) error { return a.stops.run(ctx) }

// shutdown lets requests under way end.
func (a *App) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit-time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		return errors.Join(err, a.server.Close())
	}
	return nil
}

// closed forgets that a listener was closed already, by the server it belonged to.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
