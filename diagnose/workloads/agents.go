package workloads

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Agents are the nodes that have pods, each with the address of the pod there that is
// selected and ready, "" for none.
func (w *Workloads) Agents(ctx context.Context, namespace, selector string) (map[string]string, error) {
	wanted, err := labels.Parse(selector)
	if err != nil {
		return nil, fmt.Errorf("reading the selector of the agents' pods: %w", err)
	}
	if err := w.need(ctx, w.pods); err != nil {
		return nil, err
	}
	nodes := map[string]string{}
	for _, p := range in[*corev1.Pod](w.pods, "") {
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if nodes[p.Spec.NodeName] == "" {
			nodes[p.Spec.NodeName] = ""
		}
		if running(p) && ready(p) && p.Namespace == namespace && wanted.Matches(labels.Set(p.Labels)) {
			nodes[p.Spec.NodeName] = p.Status.PodIP
		}
	}
	return nodes, nil
}

// ready is what trim has left of the conditions.
func ready(p *corev1.Pod) bool { return len(p.Status.Conditions) == 0 }
