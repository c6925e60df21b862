package rbac

import (
	"fmt"
	"slices"
	"strings"
)

// Needs are the rights that a step on Kubernetes needs beside those of every plan
// (Always): of an action with its parameters as a runbook writes them. An error is
// for an action that is not known here. Where a parameter is computed, they are the
// rights for every value.
func Needs(action string, with map[string]any) ([]Grant, error) {
	wanted, ok := needs()[action]
	if !ok {
		return nil, fmt.Errorf("no rights are known of action %q", action)
	}
	wanted = slices.Concat(wanted, special(action, with))
	all, err := Grants()
	if err != nil {
		return nil, err
	}
	var out []Grant
	for _, right := range wanted {
		i := slices.IndexFunc(all, func(g Grant) bool { return g.is(right) && g.File != Watching && !isAlways(g) })
		if i < 0 {
			return nil, fmt.Errorf("action %s needs to %s, which no file grants", action, right)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// Always are the rights of every kmend in a cluster: base.yaml and watch.yaml.
func Always() ([]Grant, error) {
	all, err := Grants()
	return slices.DeleteFunc(all, func(g Grant) bool { return !isAlways(g) && g.File != Watching }), err
}

func isAlways(g Grant) bool { return g.File == "deploy/rbac/base.yaml" }

// is compares with "verb resource" of the core group or "verb group/resource", where
// a resource may have a subresource: "patch apps/deployments/scale".
func (g Grant) is(right string) bool {
	return right == g.Verb+" "+strings.TrimPrefix(g.Group+"/", "/")+g.Resource
}

func patchWorkloads() []string {
	return []string{"patch apps/deployments", "patch apps/statefulsets", "patch apps/daemonsets"}
}

// special are the rights that depend on the parameters.
func special(action string, with map[string]any) []string {
	switch action {
	case "kubernetes.resize_cpu", "kubernetes.resize_memory":
		if t, set := with["template"]; set && t != false {
			return patchWorkloads()
		}
	case "kubernetes.label":
		switch with["object"] {
		case "pod":
			return []string{"patch pods"}
		case "node":
			return []string{"patch nodes"}
		case "workload":
			return patchWorkloads()
		}
		return append(patchWorkloads(), "patch pods", "patch nodes")
	}
	return nil
}

// needs are the rights by action, whatever its parameters.
func needs() map[string][]string {
	return map[string][]string{
		"kubernetes.resize_cpu":      {"patch pods/resize"},
		"kubernetes.resize_memory":   {"patch pods/resize"},
		"kubernetes.cordon_node":     {"patch nodes"},
		"kubernetes.uncordon_node":   {"patch nodes"},
		"kubernetes.taint_node":      {"patch nodes"},
		"kubernetes.drain_node":      {"patch nodes", "create pods/eviction"},
		"kubernetes.evict_pod":       {"create pods/eviction"},
		"kubernetes.label":           nil, // special
		"kubernetes.scale":           {"patch apps/deployments/scale", "patch apps/statefulsets/scale"},
		"kubernetes.raise_hpa_max":   {"get autoscaling/horizontalpodautoscalers", "patch autoscaling/horizontalpodautoscalers"},
		"kubernetes.rollout_restart": patchWorkloads(),
		"kubernetes.rollout_undo":    append(patchWorkloads(), "list apps/replicasets", "get apps/controllerrevisions", "list apps/controllerrevisions"),
		"kubernetes.leave_service":   {"patch pods", "list services", "list discovery.k8s.io/endpointslices"},
		"kubernetes.point_service":   {"list discovery.k8s.io/endpointslices", "get services", "patch services"},
		"kubernetes.shift_traffic":   {"get gateway.networking.k8s.io/httproutes", "patch gateway.networking.k8s.io/httproutes"},
		"kubernetes.set_config":      {"get configmaps", "patch configmaps"},
		"kubernetes.run_job":         {"get batch/cronjobs", "get batch/jobs", "create batch/jobs"},
	}
}

// Remedy is how the right of a file is given, where the chart installed kmend by the
// values, if there are any, and where it did not by the file.
func Remedy(file string, values ...string) string {
	chart := "run helm upgrade again, which grants it"
	if len(values) > 0 {
		chart = "set " + strings.Join(values, ": true, ") + ": true"
	}
	return "with the chart " + chart + "; without it kubectl apply -f " + file
}

// ChartValue is the value of the Helm chart that grants an action what a file does;
// "" for what the chart always grants.
func ChartValue(action, file string) string {
	if file == "deploy/rbac/base.yaml" || file == Watching || file == "deploy/rbac/pause.yaml" {
		return ""
	}
	value := strings.TrimPrefix(action, "kubernetes.")
	if file == "deploy/rbac/workloads.yaml" && (value == "resize_cpu" || value == "resize_memory") {
		value = "resize_template" // template: true
	}
	return "actions." + value
}
