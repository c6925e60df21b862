package app

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// A target in words is the labels that the configuration reads it from.
func TestTestLabels(t *testing.T) {
	c := DefaultConfig()
	c.Diagnose.Labels.Pod = []string{"k8s_pod"}
	for target, want := range map[string]map[string]string{
		"pod/shop/cart-1":       {"namespace": "shop", "k8s_pod": "cart-1"},
		"pod/shop/cart-1/app":   {"namespace": "shop", "k8s_pod": "cart-1", "container": "app"},
		"Deployment/shop/cart":  {"namespace": "shop", "deployment": "cart"},
		"statefulset/shop/db":   {"namespace": "shop", "statefulset": "db"},
		"service/shop/cart":     {"namespace": "shop", "destination_service_name": "cart"},
		"node/n1":               {"node": "n1"},
		"unit/n1/nginx.service": {"node": "n1", "systemd_unit": "nginx.service"},
		"cgroup/kubepods/x":     {"cgroup": "/kubepods/x"},
	} {
		got, err := c.testLabels(TestRequest{Target: target})
		want["alertname"] = "KmendTestAlert"
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", target, got, err, want)
		}
	}
	for _, wrong := range []TestRequest{{}, {Target: "pod/shop"}, {Target: "cart"}, {Target: "pod//cart"}, {Target: "cgroup/../x"},
		{Labels: map[string]string{"a b": "c"}}, {Labels: map[string]string{"a": strings.Repeat("x", 2000)}}} {
		if got, err := c.testLabels(wrong); err == nil {
			t.Errorf("%+v: %v", wrong, got)
		}
	}
	got, err := c.testLabels(TestRequest{Target: "pod/shop/cart-1", Labels: map[string]string{"alertname": "Mine", "team": "shop"}})
	if err != nil || got["alertname"] != "Mine" || got["team"] != "shop" || got["k8s_pod"] != "cart-1" {
		t.Errorf("%v, %v", got, err)
	}
}

// Nobody is paged for a test alert, and it is posted only where that is wanted.
func TestTestAlertsAreNotTold(t *testing.T) {
	w := newWard(t)
	yaml := strings.TrimPrefix(w.yaml(), "dataDir: data\n")
	c, err := Load(writeConfig(t, w.dir, yaml+"routes: [{name: shop, match: ['namespace=shop'], slack: {channel: '#shop'}}]\n"))
	must(t, err)
	r, err := c.Routing()
	must(t, err)
	for _, target := range []incident.Target{{Namespace: "shop", Pod: "cart"}, {Cgroup: "/x"}} {
		real := r.Of(incident.Incident{Target: target})
		silent, posted := r.Of(incident.Incident{Target: target, Test: true}), r.Of(incident.Incident{Target: target, Test: true, TestPosted: true})
		if real.Slack.Channel == "" || real.PagerDuty.Off {
			t.Errorf("%s: a real one is told %+v", target, real)
		}
		if silent.Slack.Channel != "" || !silent.PagerDuty.Off || posted.Slack.Channel != real.Slack.Channel || !posted.PagerDuty.Off {
			t.Errorf("%s: silent %+v, posted %+v", target, silent, posted)
		}
	}
}

// A test alert that is posted is the one message of its incident, which says what it is; PagerDuty hears nothing.
func TestTestAlertIsPosted(t *testing.T) {
	w := newWard(t)
	w.write(t, "ada", "ada!")
	s := runIn(t, w.dir, strings.TrimPrefix(w.yaml(), "dataDir: data\n")+"approvers: [{name: ada, tokenFile: ada}]\n")
	for _, post := range []string{"true", "false"} {
		status, body := ask(t, "POST", s.url+"/api/v1/test-alerts", "ada!", `{"target": "cgroup/`+post+`", "post": `+post+`}`, "Content-Type", "application/json")
		if status != 201 || !strings.Contains(body, `"kind": "TestAlert"`) || !strings.Contains(body, "PagerDuty, never for a test") {
			t.Fatalf("%d %s", status, body)
		}
	}
	s.list(t, 2)
	for until := time.Now().Add(20 * time.Second); len(w.slack.Messages()) == 0 && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
	}
	must(t, s.stop())
	messages := w.slack.Messages()
	if len(messages) != 1 || !strings.HasPrefix(messages[0].Text, "TEST: ") || !strings.Contains(messages[0].Text, "cgroup /true") {
		t.Errorf("%+v", messages)
	}
	if n := w.pagerduty.Calls("POST", "") + w.pagerduty.Calls("PUT", ""); n != 0 || len(w.pagerduty.Incidents()) != 0 {
		t.Errorf("PagerDuty was told %d times", n)
	}
	if n := len(w.llm.Requests()); n != 0 {
		t.Errorf("a model was asked %d times", n)
	}
}
