package app

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/internal/prometheus"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/policies"
	"github.com/kmend/kmend/remediate"
	"github.com/kmend/kmend/remediate/action"
	"github.com/kmend/kmend/remediate/action/cgroup"
	"github.com/kmend/kmend/remediate/action/http"
	"github.com/kmend/kmend/remediate/action/kubernetes"
	"github.com/kmend/kmend/remediate/action/redis"
	"github.com/kmend/kmend/remediate/action/systemd"
	"github.com/kmend/kmend/runbooks"
)

// ActionSpecs are the actions that runbooks may name.
func ActionSpecs() ([]runbooks.ActionSpec, error) {
	all, err := actions("any", Kubernetes{}, nil, nil)
	if err != nil {
		return nil, err
	}
	e, err := remediate.New(all...)
	if err != nil {
		return nil, fmt.Errorf("registering actions: %w", err)
	}
	return known(e.Specs()), nil
}

// known are the actions of an executor as package runbooks has them.
func known(specs []remediate.Spec) []runbooks.ActionSpec {
	out := make([]runbooks.ActionSpec, len(specs))
	for i, s := range specs {
		out[i] = runbooks.ActionSpec(s)
	}
	return out
}

// actions are all there are, those that this configuration cannot carry out among
// them: a runbook that names one is right, and its plan says what is missing.
func actions(node string, conf Kubernetes, cluster client.Interface, dyn dynamic.Interface) ([]action.Action, error) {
	quota, err := cgroup.NewSetCPUQuota(cgroup.Options{Node: node})
	if err != nil {
		return nil, fmt.Errorf("preparing the cgroup action: %w", err)
	}
	sentinel, err := redis.NewSentinelFailover(redis.DefaultOptions())
	if err != nil {
		return nil, fmt.Errorf("preparing the redis actions: %w", err)
	}
	shard, err := redis.NewClusterFailover(redis.DefaultOptions())
	if err != nil {
		return nil, fmt.Errorf("preparing the redis actions: %w", err)
	}
	property, err := systemd.NewSetProperty(systemd.Options{Node: node})
	if err != nil {
		return nil, fmt.Errorf("preparing the systemd actions: %w", err)
	}
	restart, err := systemd.NewRestartUnit(systemd.Options{Node: node})
	if err != nil {
		return nil, fmt.Errorf("preparing the systemd actions: %w", err)
	}
	all := []action.Action{quota, property, restart, sentinel, shard, http.NewRequest()}
	if cluster == nil {
		for _, a := range kubernetes.Known() {
			all = append(all, absent{a, "the Kubernetes API is not configured; set kubernetes.enabled in kmend.yaml"})
		}
		return all, nil
	}
	opts := kubernetes.DefaultOptions()
	opts.Namespaces = conf.Namespaces
	if conf.Pause != nil {
		opts.Own = conf.Pause.Namespace
	}
	there, err := kubernetes.Actions(cluster, dyn, opts)
	if err != nil {
		return nil, fmt.Errorf("preparing the kubernetes actions: %w", err)
	}
	return append(all, there...), nil
}

// executor has every action.
func (a *App) executor(node string, cluster client.Interface, dyn dynamic.Interface) (*remediate.Executor, error) {
	all, err := actions(node, a.config.Kubernetes, cluster, dyn)
	if err != nil {
		return nil, err
	}
	e, err := remediate.New(all...)
	if err != nil {
		return nil, fmt.Errorf("registering actions: %w", err)
	}
	return e.Counted(remediate.NewMetrics(a.registry)), nil
}

// planner loads the runbooks.
func (a *App) planner(specs []remediate.Spec) (*runbooks.Set, error) {
	if len(a.config.Runbooks) == 0 {
		return runbooks.Builtin(known(specs))
	}
	return runbooks.Load(a.config.Runbooks, known(specs))
}

// policies loads the policies.
func (a *App) policies() (*policies.Set, error) {
	set, err := policies.Builtin()
	if len(a.config.Policies) > 0 {
		set, err = policies.Load(a.config.Policies)
	}
	if err != nil {
		return nil, err
	}
	if p := a.config.PagerDuty; p != nil && p.RoutingKeyFile == "" && set.Acknowledging() {
		return nil, errAcknowledges
	}
	return set.WithDryRun(a.config.DryRun), nil
}

var errAcknowledges = errors.New("a policy has pagerduty.acknowledge and the configuration no pagerduty.routingKeyFile: an acknowledgement ends PagerDuty's escalation, and kmend could page nobody when it fails; set it, or remove acknowledge")

// guard gives the policies what they ask about; the cluster's switch comes after
// the others.
func (a *App) guard(set *policies.Set, history guard.History, switches []guard.Switch, cluster client.Interface) (*guard.Guard, error) {
	o := guard.Options{Policies: set, History: history, Switches: switches}
	if cluster != nil {
		o.Cluster = guard.NewCluster(cluster)
		if p := a.config.Kubernetes.Pause; p != nil {
			o.Switches = append(o.Switches, guard.ConfigMap{Client: cluster, Namespace: p.Namespace, Name: p.ConfigMap, Key: p.Key})
		}
	}
	p, err := a.config.Prometheus.client()
	if err != nil {
		return nil, err
	}
	if p != nil {
		o.Prometheus = guard.NewPrometheus(p)
	}
	return guard.New(o)
}

// client is the one of Prometheus; nil when there is none.
func (p Prometheus) client() (v1.API, error) {
	if p.URL == "" {
		return nil, nil
	}
	var token *secret.File
	if p.TokenFile != "" {
		var err error
		if token, err = secret.Open(p.TokenFile); err != nil {
			return nil, fmt.Errorf("opening prometheus.tokenFile: %w", err)
		}
	}
	return prometheus.New(p.URL, token)
}

// absent stands for an action that cannot be carried out here. Only its name,
// its parameters and whether it can be undone are asked of it.
type absent struct {
	known action.Action
	why   string
}

func (a absent) Name() string { return a.known.Name() }
func (a absent) Params() any  { return a.known.Params() }

func (a absent) Irreversible() bool {
	i, ok := a.known.(interface{ Irreversible() bool })
	return ok && i.Irreversible()
}

func (a absent) Preview(context.Context, incident.Target, map[string]any) (incident.Preview, error) {
	return incident.Preview{}, errors.New(a.why)
}

func (a absent) Apply(context.Context, incident.Target, incident.Step) (incident.Execution, error) {
	return incident.Execution{}, errors.New(a.why)
}

func (a absent) Undo(context.Context, incident.Target, incident.Step, incident.Execution) (incident.Execution, error) {
	return incident.Execution{}, errors.New(a.why)
}
