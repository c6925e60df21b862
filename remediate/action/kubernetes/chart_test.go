package kubernetes

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// The chart has a switch for every action, off, and one for what template: true of
// the resizes needs; no other.
func TestChartHasTheActions(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../../deploy/chart/kmend/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct{ Actions map[string]bool }
	if err := yaml.Unmarshal(b, &values); err != nil {
		t.Fatal(err)
	}
	want := []string{"resize_template"}
	for _, a := range Known() {
		want = append(want, strings.TrimPrefix(a.Name(), "kubernetes."))
	}
	var got []string
	for name, on := range values.Actions {
		got = append(got, name)
		if on {
			t.Errorf("the chart's default is actions.%s: true", name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the chart has actions %q, kmend has %q", got, want)
	}
}

// A right that is missing is named with the file and the chart's value that grant it.
func TestExplained(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ action, denied, want string }{
		{"kubernetes.drain_node", `cannot create resource "pods/eviction" in API group ""`,
			"; deploy/rbac/evict.yaml grants it: with the chart set actions.drain_node: true; without it kubectl apply -f deploy/rbac/evict.yaml"},
		{"kubernetes.resize_cpu", `cannot patch resource "pods/resize" in API group ""`,
			"; deploy/rbac/resize.yaml grants it: with the chart set actions.resize_cpu: true; without it kubectl apply -f deploy/rbac/resize.yaml"},
		{"kubernetes.resize_memory", `cannot patch resource "deployments" in API group "apps"`,
			"; deploy/rbac/workloads.yaml grants it: with the chart set actions.resize_template: true; without it kubectl apply -f deploy/rbac/workloads.yaml"},
		{"kubernetes.scale", `cannot get resource "deployments" in API group "apps"`,
			"; deploy/rbac/base.yaml grants it: with the chart run helm upgrade again, which grants it; without it kubectl apply -f deploy/rbac/base.yaml"},
		{"kubernetes.scale", `cannot get resource "secrets" in API group ""`, ""},
	} {
		err := explain(errors.New(c.denied), c.action)
		if errors.Is(err, incident.ErrForbidden) != strings.Contains(c.want, "actions.") {
			t.Errorf("%v: that it is forbidden is wrong", err)
		}
		if got, want := err.Error(), c.denied+c.want; got != want {
			t.Errorf("%s says\n%s, want\n%s", c.action, got, want)
		}
	}
	if err := explain(nil, "kubernetes.scale"); err != nil {
		t.Error(err)
	}
}

// Where kmend may act in some namespaces only, an action on a target elsewhere is an
// error before the API server is asked, and its undo is not: it was done when it might.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	asked := 0
	a := explained{counted{asked: &asked}, []string{"shop", "cart"}}
	for namespace, want := range map[string]int{"shop": 2, "": 2, "cart": 2, "kube-system": 0} {
		asked = 0
		target := incident.Target{Namespace: namespace}
		_, err := a.Preview(t.Context(), target, nil)
		_, err2 := a.Apply(t.Context(), target, incident.Step{})
		if asked != want || (err == nil) != (want > 0) || (err2 == nil) != (want > 0) {
			t.Errorf("in namespace %q it was asked %d times, want %d: %v, %v", namespace, asked, want, err, err2)
		}
		if want == 0 && !errors.Is(err2, incident.ErrForbidden) {
			t.Errorf("%v is not forbidden", err2)
		}
		if want == 0 && !strings.Contains(err.Error(), "kmend acts in the namespaces shop, cart only, and the target is in kube-system") {
			t.Error(err)
		}
	}
	if _, err := a.Undo(t.Context(), incident.Target{Namespace: "kube-system"}, incident.Step{}, incident.Execution{}); err != nil {
		t.Error(err)
	}
}

// counted is an action that counts how often it is asked.
type counted struct {
	action.Action
	asked *int
}

func (c counted) Name() string { return "kubernetes.scale" }

func (c counted) Preview(context.Context, incident.Target, map[string]any) (incident.Preview, error) {
	*c.asked++
	return incident.Preview{}, nil
}

func (c counted) Apply(context.Context, incident.Target, incident.Step) (incident.Execution, error) {
	*c.asked++
	return incident.Execution{}, nil
}

func (c counted) Undo(context.Context, incident.Target, incident.Step, incident.Execution) (incident.Execution, error) {
	return incident.Execution{}, nil
}
