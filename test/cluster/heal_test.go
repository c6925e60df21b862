package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
)

// slow is a pod that needs 0.3 CPU and is allowed 0.2: most of its time goes to
// waiting for the next period, and twice the limit is enough. It wakes seldom:
// on a machine with other work each waking waits for a CPU first.
func slow(name string) Burn {
	return Burn{Name: name, Request: "200m", Limit: "200m", Work: 30 * time.Millisecond, Pause: 70 * time.Millisecond}
}

// The main job on a real node: a pod is throttled, Alertmanager says that it is
// slow, kmend confirms it by the kernel, raises the limit live and confirms by
// the kernel that it helped.
func TestHealsThroughTheLocalAgent(t *testing.T) {
	node.Need(t)
	heals(t, "local", server.Agent{})
}

// The same with the agent as a program of its own, over TLS.
func TestHealsThroughAnAgentOverTheNetwork(t *testing.T) {
	node.Need(t)
	heals(t, "remote", startAgent(t))
}

func heals(t *testing.T, name string, agent server.Agent) {
	kmend := program(t, "kmend")
	kubeconfig := grant(t)
	pod := node.Run(t, slow(name))
	expectThrottled(t, pod, 0.2)
	s := serve(t, server.Options{Binary: kmend, Dir: t.TempDir(), Kubeconfig: kubeconfig, Agent: agent,
		Policies: []string{sourceDir() + "/testdata/policy.yaml"}})
	expectHealed(t, s, startAlertmanager(t, s), pod)
}

// startAlertmanager runs a real one that tells kmend.
func startAlertmanager(t *testing.T, s *server.Server) *alertmanager.Server {
	t.Helper()
	am, err := alertmanager.Start(t.Context(), alertmanager.Options{Dir: t.TempDir(), WebhookURL: s.WebhookURL(), TokenFile: s.WebhookTokenFile(),
		GroupBy: []string{"alertname", "namespace", "pod"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = am.Stop() })
	return am
}

// alerted has Alertmanager say that the pod is slow, and waits until its incident is closed.
func alerted(t *testing.T, s *server.Server, am *alertmanager.Server, pod *corev1.Pod) incident.Incident {
	t.Helper()
	sent := time.Now()
	alert := alertmanager.Alert{Labels: map[string]string{"alertname": "PodSlow", "severity": "page",
		"namespace": pod.Namespace, "pod": pod.Name, "container": pod.Name, "node": NodeName}}
	if err := am.Post(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 60*time.Second, errors.New("no closed incident after 60 s"))
	defer cancel()
	inc, err := s.Wait(ctx, func(i incident.Incident) bool { return i.Target.Pod == pod.Name && i.Outcome != "" && !i.Test })
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range inc.Timeline {
		t.Logf("%+7.3f s  %-10s %-12s %s", e.At.Sub(sent).Seconds(), e.Phase, e.Kind, e.Message)
	}
	t.Logf("alert sent -> %s: %.2f s", inc.Outcome, time.Since(sent).Seconds())
	return inc
}

func expectHealed(t *testing.T, s *server.Server, am *alertmanager.Server, pod *corev1.Pod) {
	t.Helper()
	inc := alerted(t, s, am, pod)
	if inc.Outcome != incident.Fixed {
		if d := inc.Diagnosis; d != nil {
			t.Logf("measured on %s: %+v\n%+v\n%+v", d.Target, d.Findings, d.Evidence, d.Ledger)
		}
		t.Fatalf("the incident ended as %s: %s", inc.Outcome, inc.Reason)
	}
	expectConfirmed(t, *inc.Diagnosis, pod)
	after := node.Throttling(t, pod)
	t.Log("the kernel, afterwards:", after)
	if after.Quota != 0.4 || after.Throttled > 1 {
		t.Errorf("afterwards: %s; want a quota of 0.4 CPU and no throttling", after)
	}
	expectNoRestart(t, pod)
	expectEvent(t, pod)
}

// expectConfirmed checks what the fix was decided on.
func expectConfirmed(t *testing.T, d incident.Diagnosis, pod *corev1.Pod) {
	t.Helper()
	root, ok := d.RootCause()
	if !ok || root.Cause != incident.CPUThrottled {
		t.Fatalf("verdict %s, findings %+v; want cpu.throttled confirmed", d.Verdict, d.Findings)
	}
	if d.Target.PodUID != string(pod.UID) && d.Target.Cgroup == "" {
		t.Errorf("the diagnosis does not say what it measured: %+v", d.Target)
	}
	t.Log(root.Message)
}

// expectEvent checks that somebody who looks at the pod sees who changed it.
func expectEvent(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	events, err := node.Client().CoreV1().Events(pod.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Source.Component == "kmend" {
			t.Logf("event on the pod: %s: %s", e.Reason, e.Message)
			return
		}
	}
	t.Errorf("none of the %d events on the pod is kmend's", len(events.Items))
}

// serve runs `kmend serve` until the test ends.
func serve(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kmend logged:\n%s", s.Tail())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// `kmend diagnose --pod` finds the pod's cgroup on the node by itself, without a
// server, a kubeconfig or a container named.
func TestDiagnosePod(t *testing.T) {
	node.Need(t)
	kmend := program(t, "kmend")
	pod := node.Run(t, slow("asked"))
	expectThrottled(t, pod, 0.2)
	for _, target := range []string{"default/asked", "default/asked/asked"} {
		out, err := server.Run(t.Context(), kmend, "diagnose", "--pod", target, "--window", "2s", "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		var d incident.Diagnosis
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		expectConfirmed(t, d, pod)
	}
	if out, err := server.Run(t.Context(), kmend, "diagnose", "--pod", "default/nosuch"); err == nil {
		t.Errorf("a pod that is not there was diagnosed: %s", out)
	} else {
		t.Log(err)
	}
}
