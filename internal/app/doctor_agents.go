package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/doctor"
)

const (
	asks      = 16               // agents are asked at once
	eachLimit = 5 * time.Second  // each
	allAgents = 25 * time.Second // all of them
)

// place is where an agent is, or why there is none.
type place struct {
	node, url string
	absent    string
}

// agents asks the agent of every node what it can measure.
func (e examiner) agents(k client.Interface) doctor.Check {
	return doctor.Check{Group: "agents", Name: "agents", Limit: allAgents, Run: func(ctx context.Context) []doctor.Line {
		var lines []doctor.Line
		if e.config.Agents.Local {
			lines = append(lines, e.here(ctx))
		}
		places, problem := e.places(ctx, k)
		if problem != nil {
			return append(lines, *problem)
		}
		answers := make([][]doctor.Line, len(places))
		turns := make(chan struct{}, asks)
		var wg sync.WaitGroup
		for i, p := range places {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				answers[i] = e.ask(ctx, p)
			})
		}
		wg.Wait()
		return append(lines, slices.Concat(answers...)...)
	}}
}

// here is the agent of this process, or of one that would start here.
func (e examiner) here(ctx context.Context) doctor.Line {
	a := e.local
	if a == nil {
		o := agent.DefaultOptions()
		o.Version, o.NoRecorder = e.version, "nothing is recorded by kmend doctor"
		var err error
		if a, err = agent.New(o); err != nil {
			return doctor.Wrong("this node", advice(err.Error()), "%v", err)
		}
		defer a.Close()
	}
	can, err := a.Capabilities(ctx)
	if err != nil {
		return doctor.Wrong("this node", advice(err.Error()), "%v", err)
	}
	return measures("this node", can)
}

// places are those of the configuration: the nodes that it lists, and every node of
// the cluster on which kmend looks for agents.
func (e examiner) places(ctx context.Context, k client.Interface) (places []place, problem *doctor.Line) {
	for _, s := range e.config.Agents.Static {
		places = append(places, place{node: s.Node, url: s.URL})
	}
	where := e.config.Agents.Kubernetes
	if where == nil || k == nil {
		return places, nil
	}
	all, err := podPlaces(ctx, k, *where)
	if err != nil {
		line := doctor.Wrong("", "see that the API server answers and that kmend may list pods and nodes (deploy/rbac/base.yaml)", "which nodes have agents is not known: %v", err)
		return nil, &line
	}
	for _, p := range all {
		if !slices.ContainsFunc(places, func(s place) bool { return incident.SameNode(s.node, p.node) }) {
			places = append(places, p)
		}
	}
	return places, nil
}

// podPlaces are the agents of the cluster's nodes, by node.
func podPlaces(ctx context.Context, k client.Interface, where AgentPods) (places []place, err error) {
	nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	pods, err := k.CoreV1().Pods(where.Namespace).List(ctx, metav1.ListOptions{LabelSelector: where.Selector})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		if os := n.Labels["kubernetes.io/os"]; os != "" && os != "linux" {
			continue
		}
		p := place{node: n.Name, absent: fmt.Sprintf("no pod of an agent is there (namespace %s, selector %s)", where.Namespace, where.Selector)}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Spec.NodeName != n.Name {
				continue
			}
			if why := notReady(pod); why != "" {
				p.absent = fmt.Sprintf("pod %s/%s is %s", pod.Namespace, pod.Name, why)
				continue
			}
			p.url, p.absent = "https://"+net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(where.Port)), ""
			break
		}
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.node, b.node) })
	return places, nil
}

// notReady says why a pod cannot be asked, with the words of its container where it waits.
func notReady(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && pod.Status.PodIP != "" && pod.DeletionTimestamp == nil {
			return ""
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			return "not ready: " + s.State.Waiting.Reason
		}
	}
	return "not ready (" + string(pod.Status.Phase) + ")"
}

// ask asks one agent.
func (e examiner) ask(ctx context.Context, p place) []doctor.Line {
	name := "node " + p.node
	if p.absent != "" {
		return []doctor.Line{doctor.Wrong(name, "let the agents' DaemonSet run there (its tolerations and node selector; kubectl describe pod): pods of this node end as inconclusive", "%s", p.absent)}
	}
	o := e.config.Agents.client(p.url)
	o.Timeout = eachLimit
	a, err := agent.NewClient(o)
	if err != nil {
		return []doctor.Line{doctor.Wrong(name, "correct agents in the configuration", "%v", err)}
	}
	defer a.Close()
	asked := time.Now()
	can, err := a.Capabilities(ctx)
	if err != nil {
		return []doctor.Line{doctor.Wrong(name, advice(err.Error()), "%v", err)}
	}
	lines := []doctor.Line{measures(name, can)}
	if !incident.SameNode(can.Node.Name, p.node) {
		lines = append(lines, doctor.Wrong(name, "correct agents.static, or --node-name of the agent", "the agent there says that it is on node %q", can.Node.Name))
	}
	if by := off(can.Clock, asked, time.Now()); !can.Clock.IsZero() && by.Abs() > mostSkew {
		lines = append(lines, clockLine(name, "the node", by))
	}
	return lines
}

// measures says what an agent can measure.
func measures(name string, can agent.Capabilities) doctor.Line {
	var without, why []string
	for _, p := range can.Probes {
		if p.Status != incident.ProbeOK && p.Name != "recorder" {
			without = append(without, p.Name)
			why = append(why, p.Name+": "+p.Reason)
		}
	}
	about := fmt.Sprintf("kernel %s, cgroup %s, agent %s", can.Node.Kernel, can.CgroupMode, orUnknown(can.AgentVersion))
	if can.APIVersion < agent.APIVersion {
		return doctor.Wrong(name, "upgrade the agent there", "%s: it speaks version %d of the agents' protocol, kmend %d", about, can.APIVersion, agent.APIVersion)
	}
	if len(without) > 0 {
		return doctor.Wrong(name, advice(strings.Join(why, "; ")), "%s; it cannot measure %s (%s)", about, strings.Join(without, ", "), strings.Join(why, "; "))
	}
	return doctor.Fine(name, "%s; it measures with %d probes", about, len(can.Probes))
}

func orUnknown(s string) string {
	if s == "" {
		return "of an unknown version"
	}
	return s
}

// advice is what to do about an agent's words.
func advice(why string) string {
	for _, a := range []struct{ word, todo string }{
		{"operation not permitted", "give the agent its capabilities (docs/agents.md)"},
		{"ermission", "give the agent its capabilities, and see who may ask it (docs/agents.md)"},
		{"certificate", "let agents.caFile be the CA of the agents' certificates, and agents.serverName a name in them"},
		{"nauthenticated", "let agents.tokenFile hold what the agent takes (docs/agents.md#who-may-ask)"},
		{"token", "let agents.tokenFile hold what the agent takes (docs/agents.md#who-may-ask)"},
		{"upgrade", "upgrade the one that is older"},
	} {
		if strings.Contains(why, a.word) {
			return a.todo
		}
	}
	return "see that the agent runs and can be reached from here (its log; NetworkPolicies), and docs/agents.md for what it needs"
}

// versionOf is the version that an API server says.
func versionOf(text []byte) string {
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if json.Unmarshal(text, &v) != nil || v.GitVersion == "" {
		return "of an unknown version"
	}
	return v.GitVersion
}
