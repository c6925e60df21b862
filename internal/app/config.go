package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// Config is kmend.yaml. docs/configuration.md explains every field.
type Config struct {
	APIVersion string `json:"apiVersion" jsonschema:"enum=kmend.dev/v1"`
	Kind       string `json:"kind" jsonschema:"enum=Config"`

	Listen       string `json:"listen,omitempty" jsonschema_description:"HOST:PORT to serve HTTP on."`
	DataDir      string `json:"dataDir,omitempty" jsonschema:"minLength=1" jsonschema_description:"Directory of the database."`
	Database     string `json:"database,omitempty" jsonschema_description:"URL of a PostgreSQL database without a password: postgres://USER@HOST/DATABASE. Default none: SQLite in dataDir."`
	DatabaseFile string `json:"databaseFile,omitempty" jsonschema_description:"File that holds the URL of a PostgreSQL database, with its password."`
	Replica      string `json:"replica,omitempty" jsonschema:"maxLength=253,pattern=^[A-Za-z0-9._-]*$" jsonschema_description:"With PostgreSQL: the name of this process among its replicas; default its host name."`

	Cluster string `json:"cluster,omitempty" jsonschema:"maxLength=253" jsonschema_description:"Name of the cluster that this kmend serves."`
	DryRun  bool   `json:"dryRun,omitempty" jsonschema_description:"Nothing is changed, whatever a policy allows. Default true."`

	Webhook        Webhook           `json:"webhook,omitempty"`
	API            API               `json:"api,omitempty"`
	Approvers      []Approver        `json:"approvers,omitempty" jsonschema:"maxItems=1000"`
	Slack          *Slack            `json:"slack,omitempty"`
	PagerDuty      *PagerDuty        `json:"pagerduty,omitempty"`
	Routes         []Route           `json:"routes,omitempty" jsonschema:"maxItems=100" jsonschema_description:"Where people hear of some incidents; the first that matches."`
	Templates      Templates         `json:"templates,omitempty"`
	Retention      string            `json:"retention,omitempty" jsonschema:"pattern=^[0-9]+d$" jsonschema_description:"How long incidents are kept after their end, such as 90d: 8d to 36500d. Default for ever."`
	Tracing        *Tracing          `json:"tracing,omitempty"`
	LLM            *LLM              `json:"llm,omitempty"`
	ApprovalExpiry incident.Duration `json:"approvalExpiry,omitempty" jsonschema_description:"How long a plan waits for a person: 1s to 24h."`
	// How incidents come together.
	ExtendWithin    incident.Duration `json:"extendWithin,omitempty" jsonschema_description:"How long after its end an incident is extended by alerts that fire again: 0s (never) to 24h."`
	CorrelateWithin incident.Duration `json:"correlateWithin,omitempty" jsonschema_description:"How far apart incidents may come that are correlated by their node or cause: 0s (never) to 1h."`

	Diagnose   Diagnose   `json:"diagnose,omitempty"`
	Agents     Agents     `json:"agents,omitempty"`
	Kubernetes Kubernetes `json:"kubernetes,omitempty"`
	Prometheus Prometheus `json:"prometheus,omitempty"`
	Traces     Traces     `json:"traces,omitempty"`
	Logs       Logs       `json:"logs,omitempty"`
	SLOs       []SLO      `json:"slos,omitempty" jsonschema:"maxItems=1000" jsonschema_description:"Objectives that alerts name and whose error budgets are part of a report."`

	Runbooks []string `json:"runbooks,omitempty" jsonschema_description:"Files or directories of runbooks; none: those that ship."`
	Policies []string `json:"policies,omitempty" jsonschema_description:"Files or directories of policies; none: the one that ships."`

	file      string            // where it was read; empty: nowhere
	environ   []string          // what it was read with
	variables map[string]string // that stand for fields, by their paths
}

// Webhook configures /webhook/alertmanager and /webhook/grafana.
type Webhook struct {
	BearerTokenFile  string     `json:"bearerTokenFile,omitempty"`
	BasicAuth        *BasicAuth `json:"basicAuth,omitempty"`
	MaxBodyBytes     int64      `json:"maxBodyBytes,omitempty" jsonschema:"minimum=1024,maximum=67108864"`
	MaxOpenIncidents int        `json:"maxOpenIncidents,omitempty" jsonschema:"minimum=1,maximum=100000"`
	Grafana          *Grafana   `json:"grafana,omitempty"`
}

// Grafana is how the webhook contact point of a Grafana signs.
type Grafana struct {
	HMACSecretFile  string `json:"hmacSecretFile" jsonschema:"minLength=1" jsonschema_description:"File of the contact point's HMAC secret. Notifications of Grafana then need its signature, and no other credentials."`
	SignatureHeader string `json:"signatureHeader,omitempty" jsonschema:"pattern=^[A-Za-z0-9-]+$" jsonschema_description:"Default X-Grafana-Alerting-Signature."`
	TimestampHeader string `json:"timestampHeader,omitempty" jsonschema:"pattern=^[A-Za-z0-9-]+$" jsonschema_description:"The contact point's timestamp header, which is signed too; none: what is old is not told from what is new."`
}

// BasicAuth is a name and the file of its password.
type BasicAuth struct {
	Username     string `json:"username" jsonschema:"minLength=1,pattern=^[^:]+$"`
	PasswordFile string `json:"passwordFile" jsonschema:"minLength=1"`
}

// API configures reading incidents.
type API struct {
	TokenFile string `json:"tokenFile,omitempty"`
}

// Approver is a person, or a program, that may answer for plans.
type Approver struct {
	Name      string `json:"name" jsonschema:"minLength=1,maxLength=100"`
	TokenFile string `json:"tokenFile" jsonschema:"minLength=1"`
	SlackUser string `json:"slackUser,omitempty" jsonschema_description:"The Slack user who is the same person."`
}

// Diagnose configures what is measured.
type Diagnose struct {
	Window incident.Duration `json:"window,omitempty" jsonschema_description:"How long a target is measured: 500ms to 60s."`
	Labels Labels            `json:"labels,omitempty"`
	// Of what stands for several.
	MaxPods int `json:"maxPods,omitempty" jsonschema:"minimum=1,maximum=50" jsonschema_description:"How many pods are measured for an alert that names a workload, a service or an SLO. Default 5."`
}

// Labels says which labels name a target; of each list the first that an alert has.
type Labels struct {
	Namespace []string `json:"namespace,omitempty" jsonschema:"minItems=1"`
	Pod       []string `json:"pod,omitempty" jsonschema:"minItems=1"`
	Container []string `json:"container,omitempty" jsonschema:"minItems=1"`
	Node      []string `json:"node,omitempty" jsonschema:"minItems=1"`
	Cgroup    []string `json:"cgroup,omitempty" jsonschema:"minItems=1"`
	PID       []string `json:"pid,omitempty" jsonschema:"minItems=1"`
	Unit      []string `json:"unit,omitempty" jsonschema:"minItems=1"`
	// What stands for pods.
	Deployment  []string `json:"deployment,omitempty" jsonschema:"minItems=1"`
	StatefulSet []string `json:"statefulSet,omitempty" jsonschema:"minItems=1"`
	DaemonSet   []string `json:"daemonSet,omitempty" jsonschema:"minItems=1"`
	ReplicaSet  []string `json:"replicaSet,omitempty" jsonschema:"minItems=1"`
	Job         []string `json:"job,omitempty" jsonschema:"minItems=1"`
	CronJob     []string `json:"cronJob,omitempty" jsonschema:"minItems=1"`
	Service     []string `json:"service,omitempty" jsonschema:"minItems=1"`
	SLO         []string `json:"slo,omitempty" jsonschema:"minItems=1" jsonschema_description:"Labels that hold the name of one of slos."`
	Exporters   []string `json:"exporters,omitempty"`
}

// Agents says who measures.
type Agents struct {
	Local      bool              `json:"local,omitempty" jsonschema_description:"Measure targets on this node in this process. Default true."`
	Recorder   bool              `json:"recorder,omitempty" jsonschema_description:"With local: record the last 15 minutes, so that a diagnosis can ask about the time before the alert. Default true."`
	Socket     string            `json:"socket,omitempty" jsonschema_description:"With local: a unix socket for root on this node, where kmend diagnose --since asks, such as /run/kmend/agent.sock. Default none."`
	NodeName   string            `json:"nodeName,omitempty" jsonschema_description:"This node's name; default its host name."`
	Static     []StaticAgent     `json:"static,omitempty"`
	Kubernetes *AgentPods        `json:"kubernetes,omitempty"`
	CAFile     string            `json:"caFile,omitempty"`
	ServerName string            `json:"serverName,omitempty"`
	TokenFile  string            `json:"tokenFile,omitempty"`
	CRISocket  string            `json:"criSocket,omitempty" jsonschema_description:"The container runtime's socket, for the local agent and pods that only their name is known of."`
	Timeout    incident.Duration `json:"timeout,omitempty" jsonschema_description:"How much longer than the window an agent may take: 1s to 5m."`
}

// StaticAgent is one agent at a fixed place.
type StaticAgent struct {
	Node string `json:"node" jsonschema:"minLength=1,maxLength=253"`
	URL  string `json:"url" jsonschema:"minLength=1"`
}

// AgentPods says where the DaemonSet of the agents is.
type AgentPods struct {
	Namespace string `json:"namespace" jsonschema:"minLength=1,maxLength=63"`
	Selector  string `json:"selector" jsonschema:"minLength=1"`
	Port      int    `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
}

// Kubernetes says how to reach the cluster's API.
type Kubernetes struct {
	Enabled    bool   `json:"enabled,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty" jsonschema_description:"Empty: the service account of the pod that kmend runs in."`
	// Namespaces are where its rights to act are bound.
	Namespaces []string `json:"namespaces,omitempty" jsonschema:"maxItems=1000,uniqueItems=true" jsonschema_description:"The namespaces that kmend may act in, where its rights are bound in those only; on nodes it cannot act then. Empty: all. It reads and measures the whole cluster in any case."`
	// Pause is the switch that kubectl reaches.
	Pause *PauseKey `json:"pause,omitempty" jsonschema_description:"A ConfigMap's key that pauses kmend while it holds anything but false. A ConfigMap that is missing pauses too."`
}

// PauseKey names a key of a ConfigMap.
type PauseKey struct {
	Namespace string `json:"namespace" jsonschema:"minLength=1,maxLength=63"`
	ConfigMap string `json:"configMap" jsonschema:"minLength=1,maxLength=253"`
	Key       string `json:"key,omitempty" jsonschema:"minLength=1,maxLength=253" jsonschema_description:"Default pause."`
}

// Prometheus is where error budgets and what metrics say about an alert are read.
type Prometheus struct {
	URL       string `json:"url,omitempty" jsonschema_description:"http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one."`
	TokenFile string `json:"tokenFile,omitempty" jsonschema_description:"File of the bearer token that it asks for."`
	// Which pods to ask first.
	Suspects []Suspect `json:"suspects,omitempty" jsonschema:"maxItems=100" jsonschema_description:"Queries that tell pods apart; the first that is for an alert counts."`
}

// What agents that are pods have in common.
const (
	DefaultAgentPort  = 9791          // where kmend-agent listens
	DefaultServerName = "kmend-agent" // in their certificates, for their addresses come and go
)

// DefaultConfig is standalone on localhost, changing nothing.
func DefaultConfig() Config {
	m := diagnose.DefaultMapping()
	return Config{
		APIVersion:     incident.APIVersion,
		Kind:           "Config",
		Listen:         "127.0.0.1:9790",
		DataDir:        "/var/lib/kmend",
		DryRun:         true,
		Webhook:        Webhook{MaxBodyBytes: 4 << 20, MaxOpenIncidents: 1000},
		ApprovalExpiry: incident.Duration(15 * time.Minute),
		ExtendWithin:   incident.Duration(15 * time.Minute), CorrelateWithin: incident.Duration(5 * time.Minute),
		Diagnose: Diagnose{
			Window: incident.Duration(3 * time.Second),
			Labels: defaultLabels(m), MaxPods: 5,
		},
		Traces: defaultTraces(),
		Logs:   defaultLogs(),
		Agents: Agents{Recorder: true, Local: true, Timeout: incident.Duration(10 * time.Second)},
	}
}

// Load reads and checks the configuration at path. Relative paths in it are
// taken from the file's directory. The errors carry file, line, column and the
// source line. Variables of environ (NAME=VALUE) take the place of scalar fields.
func Load(path string, environ ...string) (Config, error) {
	c, doc, err := read(path, environ)
	if err != nil {
		return Config{}, err
	}
	if errs := c.placed(doc, c.problems()); len(errs) > 0 {
		return Config{}, errs
	}
	return c, nil
}

// Default is DefaultConfig, checked for this machine.
func Default(environ ...string) (Config, error) {
	c := DefaultConfig()
	schema, err := document.SchemaOf(Config{})
	if err != nil {
		return Config{}, err
	}
	if err := c.override(environ, schema, map[string]any{"apiVersion": c.APIVersion, "kind": c.Kind}); err != nil {
		return Config{}, err
	}
	c.resolve("")
	problems := c.problems()
	if len(problems) == 0 {
		return c, nil
	}
	name, of := c.variables[strings.Join(problems[0].path, ".")]
	if !of {
		name = "the configuration's defaults"
	}
	return Config{}, fmt.Errorf("%s: %s", name, problems[0].message)
}

// read reads the configuration at path as far as its types say what is right.
func read(path string, environ []string) (Config, *document.Document, error) {
	docs, err := document.Read(path)
	if err != nil {
		return Config{}, nil, err
	}
	doc := docs[0]
	if len(docs) > 1 {
		return Config{}, nil, document.Errors{docs[1].Root.Errorf("a second document; a configuration is one")}
	}
	schema, err := document.SchemaOf(Config{})
	if err != nil {
		return Config{}, nil, err
	}
	if errs := schema.Check(doc.Root, ""); len(errs) > 0 {
		return Config{}, nil, errs
	}
	c := DefaultConfig()
	if err := doc.Decode(&c); err != nil {
		if at, ok := errors.AsType[*document.Error](err); ok {
			err = document.Errors{at}
		}
		return Config{}, nil, err
	}
	if err := c.override(environ, schema, doc.Root.Value()); err != nil {
		return Config{}, nil, err
	}
	c.resolve(filepath.Dir(path))
	c.file, c.environ = path, environ
	return c, doc, nil
}

// placed says where in the document each problem is, or in which variable.
func (c Config) placed(doc *document.Document, problems []problem) document.Errors {
	var errs document.Errors
	for _, p := range problems {
		if name := c.variables[strings.Join(p.path, ".")]; name != "" {
			errs = append(errs, &document.Error{File: name, Message: p.message})
			continue
		}
		node, _ := doc.Root.At(p.path...)
		errs = append(errs, node.Errorf("%s", p.message))
	}
	return errs
}

// resolve makes relative paths absolute, from the directory of the file that names
// them, and fills in what depends on other fields.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.DataDir, &c.DatabaseFile, &c.Webhook.BearerTokenFile, &c.API.TokenFile, &c.Agents.CAFile, &c.Agents.TokenFile, &c.Agents.CRISocket, &c.Agents.Socket, &c.Kubernetes.Kubeconfig, &c.Prometheus.TokenFile}
	if b := c.Webhook.BasicAuth; b != nil {
		paths = append(paths, &b.PasswordFile)
	}
	if g := c.Webhook.Grafana; g != nil {
		paths = append(paths, &g.HMACSecretFile)
	}
	paths = append(paths, c.Traces.resolve()...)
	for i := range c.Approvers {
		paths = append(paths, &c.Approvers[i].TokenFile)
	}
	if c.Slack != nil {
		paths = append(paths, c.Slack.resolve()...)
	}
	if c.Tracing != nil {
		paths = append(paths, &c.Tracing.HeadersFile)
	}
	if c.LLM != nil {
		paths = append(paths, c.LLM.resolve()...)
	}
	if p := c.PagerDuty; p != nil {
		paths = append(paths, &p.TokenFile, &p.RoutingKeyFile)
	}
	paths = append(paths, c.routePaths()...)
	for _, file := range c.Logs.files() {
		paths = append(paths, file)
	}
	for _, list := range [][]string{c.Runbooks, c.Policies} {
		for i := range list {
			paths = append(paths, &list[i])
		}
	}
	if scheme, path, ok := strings.Cut(c.Agents.CRISocket, "unix://"); ok && scheme == "" {
		c.Agents.CRISocket = path // unix:///run/x.sock, as crictl writes it
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.SLOs {
		if c.SLOs[i].Window == 0 {
			c.SLOs[i].Window = incident.Duration(sloWindow)
		}
	}
	if p := c.Kubernetes.Pause; p != nil && p.Key == "" {
		p.Key = "pause"
	}
	if p := c.Agents.Kubernetes; p != nil {
		if p.Port == 0 {
			p.Port = DefaultAgentPort
		}
		if c.Agents.ServerName == "" {
			c.Agents.ServerName = DefaultServerName
		}
	}
}

// nodeName is this node's name.
func (c Config) nodeName() (string, error) {
	if c.Agents.NodeName != "" {
		return c.Agents.NodeName, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming this node: %w; set agents.nodeName", err)
	}
	return name, nil
}

// keeps is how long incidents are kept after their end; 0: for ever.
func (c Config) keeps() (time.Duration, error) {
	if c.Retention == "" {
		return 0, nil
	}
	days, err := strconv.Atoi(strings.TrimSuffix(c.Retention, "d"))
	// The policies count what was done in the last week.
	if err != nil || days < 8 || days > 36500 {
		return 0, fmt.Errorf("retention is %q; want 8d to 36500d, or nothing: for ever", c.Retention)
	}
	return time.Duration(days) * 24 * time.Hour, nil
}
