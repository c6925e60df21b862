package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/diagnose/agent/tokenreview"
	"github.com/kmend/kmend/internal/build"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// serveCmd is `kmend-agent serve`.
type serveCmd struct {
	Listen           string        `default:":9791" env:"KMEND_AGENT_LISTEN" help:"HOST:PORT to listen on (${default})."`
	TLSCert          string        `name:"tls-cert" type:"path" env:"KMEND_AGENT_TLS_CERT" help:"PEM file of the certificate and its chain; read again when it changes."`
	TLSKey           string        `name:"tls-key" type:"path" env:"KMEND_AGENT_TLS_KEY" help:"PEM file of the certificate's key."`
	TokenFile        string        `type:"path" env:"KMEND_AGENT_TOKEN_FILE" help:"File of the bearer token that callers must have."`
	TokenReview      bool          `env:"KMEND_AGENT_TOKEN_REVIEW" help:"Let callers in by the Kubernetes API's TokenReview in place of --token-file; needs the right to create tokenreviews (deploy/rbac/kmend-agent.yaml)."`
	TokenAudience    string        `default:"kmend-agent" env:"KMEND_AGENT_TOKEN_AUDIENCE" help:"With --token-review: the audience that callers' tokens must be for (${default})."`
	Caller           string        `default:"kmend/kmend" env:"KMEND_AGENT_CALLER" placeholder:"NAMESPACE/NAME" help:"With --token-review: the one service account that may ask, kmend's (${default})."`
	APICredentials   string        `name:"api-credentials" type:"path" default:"/var/run/secrets/kubernetes.io/serviceaccount" help:"With --token-review: folder of the agent's own token and the API server's ca.crt (${default})."`
	APIHost          string        `name:"api-host" env:"KUBERNETES_SERVICE_HOST" help:"With --token-review: the API server's host, which every pod has in its environment."`
	APIPort          string        `name:"api-port" env:"KUBERNETES_SERVICE_PORT" help:"With --token-review: the API server's port, likewise."`
	InsecureLoopback bool          `help:"Serve without TLS and token; allowed on a loopback address only."`
	NodeName         string        `env:"NODE_NAME" help:"Name of this node in Kubernetes: questions about targets on other nodes are refused. The host name if empty, and then only what runs here is found."`
	CRISocket        string        `name:"cri-socket" env:"CONTAINER_RUNTIME_ENDPOINT" help:"The container runtime's socket, for pods known by name alone; the usual places if empty."`
	MaxAtOnce        int           `default:"4" help:"Measurements at once; one more is refused as busy (${default})."`
	MaxWindow        time.Duration `default:"60s" help:"Longest window (${default})."`
	CPUBudget        time.Duration `name:"cpu-budget" default:"2s" help:"CPU time that one measurement may take of this process (${default})."`
	MemoryBudget     int64         `name:"memory-budget" default:"268435456" placeholder:"BYTES" help:"Memory that one measurement may take, its tables in the kernel included (${default})."`
	Patience         time.Duration `default:"20ms" help:"How long probes that have attached wait for the others, so that their windows begin together; more on a slow machine (${default})."`
	ConnAge          time.Duration `default:"10m" help:"Connections older than this are ended gently, so that a rotated certificate applies (${default})."`
	Grace            time.Duration `default:"10s" help:"How long a stop waits for measurements under way (${default})."`
	Recorder         bool          `default:"true" negatable:"" env:"KMEND_AGENT_RECORDER" help:"Record the last 15 minutes, so that a diagnosis can ask about the past; --no-recorder for not."`
	RecorderMB       int           `name:"recorder-mb" default:"16" help:"MB of buckets that the recorder keeps at most (${default})."`
	Socket           string        `default:"/run/kmend/agent.sock" env:"KMEND_AGENT_SOCKET" help:"Unix socket for root on this node (${default}); an empty value for none."`
	LogLevel         slog.Level    `default:"info" help:"debug, info, warn or error (${default})."`
}

// Validate is bad usage found before anything is opened.
func (c *serveCmd) Validate() error {
	switch {
	case c.InsecureLoopback && (c.TLSCert != "" || c.TLSKey != ""):
		return errors.New("--insecure-loopback and --tls-cert or --tls-key: choose one")
	case c.TokenReview && c.TokenFile != "":
		return errors.New("--token-review and --token-file: choose one")
	case !c.InsecureLoopback && (c.TLSCert == "" || c.TLSKey == "" || c.TokenFile == "" && !c.TokenReview):
		return errors.New("--tls-cert, --tls-key and --token-file are needed, --token-review in its place in a cluster; without them only --insecure-loopback on a loopback address")
	}
	return nil
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, out *output) error {
	logger := slog.New(slog.NewTextHandler(out.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	o := agent.DefaultOptions()
	o.MaxAtOnce, o.MaxWindow, o.Budget = c.MaxAtOnce, c.MaxWindow, agent.Budget{CPU: c.CPUBudget, Memory: c.MemoryBudget}
	o.Patience = c.Patience
	o.CRISocket, o.NodeName, o.Version = c.CRISocket, c.NodeName, build.Of(version).Version
	o.Logger, o.Registerer = logger, registry
	s := agent.DefaultServerOptions()
	s.Listen, s.CertFile, s.KeyFile, s.TokenFile = c.Listen, c.TLSCert, c.TLSKey, c.TokenFile
	s.InsecureLoopback, s.MaxConnAge, s.Grace = c.InsecureLoopback, c.ConnAge, c.Grace
	s.Gatherer, s.Logger = registry, logger
	if c.TokenReview {
		reviewer, err := c.reviewer(registry, logger)
		if err != nil {
			return err
		}
		defer reviewer.Close()
		s.CheckToken = reviewer.Check
	}
	var rec *recorder.Recorder
	o.NoRecorder = "its agent was started with --no-recorder"
	if c.Recorder {
		ro := recorder.DefaultOptions()
		ro.MaxBytes = c.RecorderMB << 20
		var err error
		if o, rec, err = agent.WithRecorder(o, ro); err != nil { // it answers, and says so
			logger.Warn("nothing is recorded", "reason", err)
		}
	}
	a, err := agent.New(o)
	if err != nil {
		return errors.Join(err, closeRecorder(rec))
	}
	can, err := a.Capabilities(ctx)
	if err != nil {
		return errors.Join(err, a.Close(), closeRecorder(rec))
	}
	for _, p := range can.Probes {
		logger.Info("probe", "name", p.Name, "status", p.Status, "reason", p.Reason)
	}

	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	if rec != nil {
		beside.Go(func() {
			if err := rec.Run(ctx); err != nil {
				logger.Error("nothing more is recorded", "reason", err)
			}
		})
	}
	if c.Socket != "" {
		beside.Go(func() {
			if err := agent.ServeSocket(ctx, a, c.Socket, logger); err != nil {
				logger.Warn("kmend diagnose --since cannot ask this agent", "reason", err)
			}
		})
	}
	if err := a.Warm(); err != nil { // it answers, and says so
		logger.Warn("this node cannot be measured", "reason", err)
	}
	err = agent.Serve(ctx, a, s)
	stop()
	beside.Wait()
	return errors.Join(err, a.Close(), closeRecorder(rec))
}

// reviewer lets callers in by the Kubernetes API.
func (c *serveCmd) reviewer(registry prometheus.Registerer, logger *slog.Logger) (*tokenreview.Reviewer, error) {
	o := tokenreview.DefaultOptions()
	o.Host, o.Port, o.Credentials = c.APIHost, c.APIPort, c.APICredentials
	o.Audience, o.Caller = c.TokenAudience, c.Caller
	o.Metrics, o.Logger = tokenreview.NewMetrics(registry), logger
	return tokenreview.New(o)
}

func closeRecorder(r *recorder.Recorder) error {
	if r == nil {
		return nil
	}
	return r.Close()
}
