package workloads

import (
	"context"
	"fmt"

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
	for _, p := range in[*pod](w.pods, "") {
		if p.node == "" || p.ended {
			continue
		}
		if nodes[p.node] == "" {
			nodes[p.node] = ""
		}
		if p.running && !p.unready && p.namespace == namespace && wanted.Matches(p.labels) {
			nodes[p.node] = p.ip
		}
	}
	return nodes, nil
}
