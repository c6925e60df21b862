package app

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/kubernetes"
)

// Without a cluster a runbook may name every action of one all the same; its
// plan says what is missing, and what cannot be undone is known.
func TestActionsWithoutACluster(t *testing.T) {
	a := &App{registry: prometheus.NewRegistry()}
	e, err := a.executor("node-1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	irreversible := map[string]bool{}
	for _, s := range e.Specs() {
		irreversible[s.Name] = s.Irreversible
	}
	for _, known := range kubernetes.Known() {
		name := known.Name()
		want := name == "kubernetes.evict_pod" || name == "kubernetes.rollout_restart" || name == "kubernetes.run_job"
		if got, ok := irreversible[name]; !ok || got != want {
			t.Errorf("%s is irreversible: %v (known: %v), want %v", name, got, ok, want)
		}
		_, err := e.Preview(t.Context(), incident.Plan{Steps: []incident.Step{{Action: name}}})
		if err == nil || !strings.Contains(err.Error(), "set kubernetes.enabled in kmend.yaml") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if len(irreversible) != 23 {
		t.Errorf("%d actions, want 23", len(irreversible))
	}
}
