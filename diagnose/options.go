package diagnose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/incident"
)

// Measurer is one agent: in this process or across the network.
type Measurer interface {
	// Measure watches the target for the window and returns the facts. Progress
	// is called with short sentences on the way. The error says what is in the
	// way and what to do, in words for the report.
	Measure(ctx context.Context, target incident.Target, window time.Duration, progress func(string)) (incident.Measurement, error)
}

// ErrBusy is what a Measurer's error wraps when the agent has enough to do and
// the same request may succeed in a moment. The diagnoser asks again.
var ErrBusy = errors.New("agent busy")

// Options of a Diagnoser. Start from DefaultOptions. With neither Static nor
// AgentPods it is standalone: Local answers for everything on this node.
type Options struct {
	// NodeName is the node this process runs on: the targets on it are Local's.
	NodeName string
	// Local is the agent in this process; nil when there is none.
	Local Measurer
	// LocalAbsent says why Local is nil, in words for the report.
	LocalAbsent string
	// Static maps a node's name to the URL of its agent.
	Static map[string]string
	// AgentPods finds agents among the pods of a DaemonSet; nil: not.
	AgentPods *AgentPods
	// Dial makes the client of the agent at a URL.
	Dial func(url string) (Measurer, error)
	// Kubernetes looks pods up: on which node, with which uid and container ids.
	// nil: pods are looked for by the local agent alone.
	Kubernetes kubernetes.Interface
	// Patience is how long an agent that is busy is asked again.
	Patience time.Duration
	// Margin is how much longer than the window an agent may take.
	Margin  time.Duration
	Logger  *slog.Logger
	Metrics *Metrics // required
}

// AgentPods says where the DaemonSet of the agents is.
type AgentPods struct {
	Namespace string
	Selector  string // label selector
	Port      int
}

// DefaultOptions is standalone, without an agent yet.
func DefaultOptions() Options {
	return Options{Margin: 10 * time.Second, Patience: time.Minute, Logger: slog.New(slog.DiscardHandler), LocalAbsent: "it is switched off"}
}

func (o Options) validate() error {
	remote := len(o.Static) > 0 || o.AgentPods != nil
	switch {
	case o.NodeName == "":
		return errors.New("option NodeName is empty; it names this node")
	case o.Margin < time.Second || o.Margin > 5*time.Minute:
		return fmt.Errorf("option Margin is %s; it must be from 1s to 5m", o.Margin)
	case o.Patience < 0 || o.Patience > 10*time.Minute:
		return fmt.Errorf("option Patience is %s; it must be from 0s to 10m", o.Patience)
	case remote && o.Dial == nil:
		return errors.New("option Dial is nil; agents on other nodes need it")
	case o.AgentPods != nil && o.Kubernetes == nil:
		return errors.New("option Kubernetes is nil; AgentPods needs it")
	case o.AgentPods != nil && (o.AgentPods.Port < 1 || o.AgentPods.Port > 65535):
		return fmt.Errorf("option AgentPods.Port is %d; it must be from 1 to 65535", o.AgentPods.Port)
	case o.Logger == nil:
		return errors.New("option Logger is nil; use slog.New(slog.DiscardHandler) for none")
	case o.Metrics == nil:
		return errors.New("option Metrics is nil; use NewMetrics")
	}
	return nil
}
