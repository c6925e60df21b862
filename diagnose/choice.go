package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
)

// agent is a Measurer with a name for messages: "the agent on node n1".
type agent struct {
	Measurer
	name string
	node string // it must say that it is on this one; empty: it need not
}

// choice finds the agent of a target.
type choice struct {
	opts Options

	mu      *sync.Mutex
	clients map[string]client // by node
}

type client struct {
	url  string
	used time.Time
	Measurer
}

// forgotten is how long after its last use the client of a node is dropped: nodes come
// and go. No measurement takes as long.
const forgotten = time.Hour

func (c client) drop() {
	if m, ok := c.Measurer.(interface{ Close() }); ok {
		m.Close()
	}
}

func newChoice(opts Options) choice {
	return choice{opts: opts, mu: new(sync.Mutex), clients: map[string]client{}}
}

// of is the agent of the target's node. The error is an obstacle unless the
// Kubernetes API does not answer.
func (c choice) of(ctx context.Context, t incident.Target) (agent, error) {
	standalone := len(c.opts.Static) == 0 && c.opts.AgentPods == nil
	switch {
	case t.Node == "" && standalone, t.Node != "" && sameNode(t.Node, c.opts.NodeName):
		if c.opts.Local != nil {
			return agent{Measurer: c.opts.Local, name: "the agent on this node"}, nil
		}
		if standalone {
			return agent{}, obstacleError("the agent on this node does not measure: " + c.opts.LocalAbsent)
		}
	case standalone:
		return agent{}, obstacleError(fmt.Sprintf("%s is on node %s, this is node %s, and no other agents are configured; set agents.static or agents.kubernetes", t, t.Node, c.opts.NodeName))
	case t.Node == "":
		return agent{}, obstacleError(fmt.Sprintf("which node? Nothing says where %s is; keep a node label in the alert", t))
	}
	return c.remote(ctx, t.Node)
}

// remote is the client of the agent on another node.
func (c choice) remote(ctx context.Context, node string) (agent, error) {
	expect := node // a list written by hand may name the wrong machine
	url, ok := c.opts.Static[node]
	if !ok {
		expect = ""
		if c.opts.AgentPods == nil {
			return agent{}, obstacleError(fmt.Sprintf("no agent for node %s; agents.static has: %s", node, nodes(c.opts.Static)))
		}
		var err error
		if url, err = c.podURL(ctx, node); err != nil {
			return agent{}, err
		}
	}
	name := fmt.Sprintf("the agent on node %s (%s)", node, url)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if had, ok := c.clients[node]; ok && had.url == url {
		had.used = now
		c.clients[node] = had
		return agent{had.Measurer, name, expect}, nil
	}
	for other, had := range c.clients {
		if now.Sub(had.used) > forgotten {
			had.drop()
			delete(c.clients, other)
		}
	}
	m, err := c.opts.Dial(url)
	if err != nil {
		return agent{}, obstacleError(fmt.Sprintf("%s: %v", name, err))
	}
	c.clients[node] = client{url, now, m}
	return agent{m, name, expect}, nil
}

// podURL finds the DaemonSet's pod on the node.
func (c choice) podURL(ctx context.Context, node string) (string, error) {
	where := c.opts.AgentPods
	list, err := c.opts.Kubernetes.CoreV1().Pods(where.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: where.Selector,
		FieldSelector: "spec.nodeName=" + node,
	})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return "", obstacleError(fmt.Sprintf("the Kubernetes API does not let kmend list pods in namespace %s (%s), where its agents are; grant it list on pods there", where.Namespace, apierrors.ReasonForError(err)))
	case err != nil:
		return "", fmt.Errorf("looking for the agent on node %s: %w", node, err)
	}
	unfit := ""
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Spec.NodeName != node {
			continue
		}
		if why := unready(pod); why != "" {
			unfit = fmt.Sprintf("; pod %s is %s", pod.Name, why)
			continue
		}
		return "https://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(where.Port)), nil
	}
	return "", obstacleError(fmt.Sprintf("no agent is ready on node %s (namespace %s, selector %s)%s", node, where.Namespace, where.Selector, unfit))
}

// unready says why an agent's pod cannot be asked, "" when it can.
func unready(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "being deleted"
	}
	if pod.Status.PodIP == "" {
		return strings.ToLower(string(pod.Status.Phase)) + " without an address"
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "not ready"
}

// sameNode compares names of nodes: a host may be known by its full name here
// and by its short one there.
func sameNode(a, b string) bool { return incident.SameNode(a, b) }

func nodes(static map[string]string) string {
	names := make([]string, 0, len(static))
	for n := range static {
		names = append(names, n)
	}
	slices.Sort(names)
	return orNone(names)
}
