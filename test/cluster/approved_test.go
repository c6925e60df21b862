package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
)

// From the alert to a Deployment that is scaled when a person says so, through
// `kmend serve`: a second pod does not help the one that is throttled, so it goes again.
func TestScalesWhenApproved(t *testing.T) {
	b := newBed(t)
	kmend := program(t, "kmend")
	b.deployment("web", 1, func(p *corev1.PodTemplateSpec) { p.Spec = slow("app").pod().Spec })
	pod := b.pods("web")[0]
	expectThrottled(t, &pod, 0.2)
	s := serve(t, server.Options{Binary: kmend, Dir: t.TempDir(), Kubeconfig: grant(t),
		Policies: []string{sourceDir() + "/testdata/ask.yaml"}, Runbooks: []string{sourceDir() + "/testdata/scale.yaml"}})
	am, err := alertmanager.Start(t.Context(), alertmanager.Options{Dir: t.TempDir(), WebhookURL: s.WebhookURL(), TokenFile: s.WebhookTokenFile(),
		GroupBy: []string{"alertname", "namespace", "pod"}})
	b.must(err)
	t.Cleanup(func() { _ = am.Stop() })
	b.must(am.Post(t.Context(), alertmanager.Alert{Labels: map[string]string{"alertname": "PodSlow", "severity": "page",
		"namespace": pod.Namespace, "pod": pod.Name, "container": "app", "node": NodeName}}))

	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, errors.New("not there after 2 minutes"))
	defer cancel()
	waiting, err := s.Wait(ctx, func(i incident.Incident) bool { return i.Phase == incident.AwaitingApproval || i.Outcome != "" })
	b.must(err)
	if waiting.Phase != incident.AwaitingApproval {
		t.Fatalf("the incident ended as %s: %s", waiting.Outcome, waiting.Reason)
	}
	b.is("pods before anybody approved", len(b.pods("web")), 1)
	_, err = s.Approve(t.Context(), waiting.ID, "--plan", waiting.Plan.Digest())
	b.must(err)
	inc, err := s.Wait(ctx, func(i incident.Incident) bool { return i.Outcome != "" })
	b.must(err)
	for _, e := range inc.Timeline {
		t.Logf("%+7.3f s  %-10s %-12s %s", e.At.Sub(inc.Timeline[0].At).Seconds(), e.Phase, e.Kind, e.Message)
	}
	b.is("outcome", inc.Outcome, incident.Undone)
	b.ready("web", 1)
	events, err := b.admin.CoreV1().Events(b.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Deployment,reason=KmendChanged"})
	b.must(err)
	did := map[string]int{}
	for _, e := range events.Items {
		did[e.Action]++
	}
	b.is("kmend's events on the Deployment", did, map[string]int{"Apply": 1, "Undo": 1})
	started, err := b.admin.CoreV1().Events(b.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod,reason=Started"})
	b.must(err)
	b.is("containers that the kubelet started", len(started.Items), 2)
}
