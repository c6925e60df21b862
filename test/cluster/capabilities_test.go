package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
)

// lost is what an agent without a capability cannot do, in its own words. What
// SYS_PTRACE and DAC_READ_SEARCH are for cannot be seen here: the kernel tells process
// ids of the machine, and this node has its own (docs/agents.md says how they were tried).
var lost = map[corev1.Capability]string{
	"BPF":     "CAP_BPF and CAP_PERFMON",
	"PERFMON": "CAP_BPF and CAP_PERFMON",
	"SYSLOG":  "the kernel hides the addresses of its symbols",
}

// An agent that has all of the chart's capabilities but one says what it cannot do; with
// all of them it can.
func (c *installation) capabilities(t *testing.T) {
	target := node.Run(t, Burn{Name: "measured", Work: 30 * time.Millisecond, Pause: 70 * time.Millisecond})
	token := tokenOf(t, releaseNamespace, release, "kmend-agent")
	without := map[corev1.Capability]*corev1.Pod{}
	for one := range lost { // they start while others do
		without[one] = c.agentWithout(t, one)
	}
	with := c.missing(t, c.agent, token, target)
	for one, want := range lost {
		if said := c.missing(t, c.running(t, without[one]), token, target); !strings.Contains(said, want) {
			t.Errorf("an agent without %s says %q, want %q", one, said, want)
		}
		if strings.Contains(with, want) {
			t.Errorf("an agent with all of them says %q", with)
		}
	}
}

// agentWithout is a pod as the DaemonSet makes it, with one capability less.
func (c *installation) agentWithout(t *testing.T, one corev1.Capability) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{Spec: *c.agent.Spec.DeepCopy()}
	pod.Name = "agent-without-" + strings.ToLower(strings.ReplaceAll(string(one), "_", "-"))
	now := int64(0)
	pod.Spec.TerminationGracePeriodSeconds = &now
	security := pod.Spec.Containers[0].SecurityContext
	security.Capabilities.Add = slices.DeleteFunc(security.Capabilities.Add, func(x corev1.Capability) bool { return x == one })
	made, err := node.Client().CoreV1().Pods(releaseNamespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// running waits until a pod has an address and answers.
func (c *installation) running(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		p, err := node.Client().CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("pod %s is not ready: %+v", pod.Name, p.Status)
		}
	}
}

// missing is what an agent says that it cannot do, or could not do for a target.
func (c *installation) missing(t *testing.T, pod *corev1.Pod, token string, target *corev1.Pod) string {
	t.Helper()
	a := c.reach(token)
	a.URL = "https://" + pod.Status.PodIP + ":9791"
	client, err := asks(t, a, token)
	if err != nil {
		t.Fatal(err)
	}
	can, err := client.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range can.Probes {
		if p.Status != incident.ProbeOK {
			said = append(said, fmt.Sprintf("%s: %s", p.Name, p.Reason))
		}
	}
	m, err := client.Measure(t.Context(), agent.Request{Window: time.Second, Target: located(target)}, nil)
	if err != nil {
		said = append(said, err.Error())
	}
	for _, p := range m.Probes {
		if p.Status != incident.ProbeOK || p.Reason != "" {
			said = append(said, fmt.Sprintf("%s: %s %s", p.Name, p.Status, p.Reason))
		}
	}
	return strings.Join(said, "; ")
}
