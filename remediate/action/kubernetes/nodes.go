package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// NodeParams are the parameters of kubernetes.cordon_node and kubernetes.uncordon_node.
type NodeParams struct{ NodeOf }

func (c *cluster) cordonNode() *editor {
	return c.cordoning("kubernetes.cordon_node", true, "cordon node %s: no new pods come to it; those on it stay", "cordoned node %s")
}

func (c *cluster) uncordonNode() *editor {
	return c.cordoning("kubernetes.uncordon_node", false, "uncordon node %s: new pods may come to it", "uncordoned node %s")
}

func (c *cluster) cordoning(name string, cordon bool, summary, did string) *editor {
	return &editor{cluster: c, name: name, params: func() any { return &NodeParams{} },
		plan: func(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
			var p NodeParams
			if err := action.Decode(with, &p); err != nil {
				return change{}, err
			}
			node, o, err := c.node(ctx, target, p.NodeOf)
			if err != nil {
				return change{}, err
			}
			if node.Spec.Unschedulable == cordon {
				return change{}, fmt.Errorf("nothing to do: node %s is %s already", node.Name, schedulable(!cordon))
			}
			return change{
				Edits:   []edit{cordonEdit(o, cordon)},
				Did:     fmt.Sprintf(did, node.Name),
				summary: fmt.Sprintf(summary, node.Name) + managed(o),
				before:  schedulable(cordon), after: schedulable(!cordon),
			}, nil
		}}
}

// cordonEdit sets or removes spec.unschedulable, which the API leaves out when it is false.
func cordonEdit(o *unstructured.Unstructured, cordon bool) edit {
	var value any
	if cordon {
		value = true
	}
	return edited(nodes, o, to(o, value, "spec", "unschedulable"))
}

func schedulable(yes bool) string {
	if yes {
		return "schedulable"
	}
	return "cordoned"
}

// TaintParams are the parameters of kubernetes.taint_node.
type TaintParams struct {
	NodeOf
	Key    string `json:"key" jsonschema:"minLength=1,maxLength=317" jsonschema_description:"Key of the taint. Keys of kubernetes.io and k8s.io belong to Kubernetes and are refused."`
	Value  string `json:"value,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Value of the taint."`
	Effect string `json:"effect,omitempty" jsonschema:"enum=NoSchedule,enum=PreferNoSchedule,default=NoSchedule" jsonschema_description:"NoExecute is not offered: it would delete pods past their disruption budgets. Use kubernetes.drain_node."`
}

func (c *cluster) taintNode() *editor {
	return &editor{cluster: c, name: "kubernetes.taint_node", params: func() any { return &TaintParams{} },
		plan: func(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
			var p TaintParams
			if err := action.Decode(with, &p); err != nil {
				return change{}, err
			}
			p.Effect = orElse(p.Effect, string(corev1.TaintEffectNoSchedule))
			if p.Effect != string(corev1.TaintEffectNoSchedule) && p.Effect != string(corev1.TaintEffectPreferNoSchedule) {
				return change{}, fmt.Errorf("with.effect: %q is not allowed; allowed: NoSchedule, PreferNoSchedule", p.Effect)
			}
			if err := ownKey(p.Key, p.Value); err != nil {
				return change{}, err
			}
			node, o, err := c.node(ctx, target, p.NodeOf)
			if err != nil {
				return change{}, err
			}
			taint := map[string]any{"key": p.Key, "effect": p.Effect}
			if p.Value != "" {
				taint["value"] = p.Value
			}
			f := to(o, taint, "spec", "taints", item(map[string]string{"key": p.Key, "effect": p.Effect}))
			if same(f.Was, f.To) {
				return change{}, fmt.Errorf("nothing to do: node %s has the taint %s already", node.Name, p.Key)
			}
			text := p.Key + "=" + p.Value + ":" + p.Effect
			return change{
				Edits: []edit{edited(nodes, o, f)}, Did: "tainted node " + node.Name + " with " + text,
				summary: "taint node " + node.Name + " with " + text + managed(o),
				before:  short(f.Was), after: text,
			}, nil
		}}
}

// ownKey refuses the keys that Kubernetes' own parts act on, and what no label
// or taint may be.
func ownKey(key, value string) error {
	if bad := validation.IsQualifiedName(key); len(bad) > 0 {
		return fmt.Errorf("with.key: %q: %s", key, strings.Join(bad, "; "))
	}
	if bad := validation.IsValidLabelValue(value); len(bad) > 0 {
		return fmt.Errorf("with.value: %q: %s", value, strings.Join(bad, "; "))
	}
	domain, _, _ := strings.Cut(key, "/")
	for _, theirs := range []string{"kubernetes.io", "k8s.io"} {
		if strings.Contains(key, "/") && (domain == theirs || strings.HasSuffix(domain, "."+theirs)) {
			return fmt.Errorf("with.key: %s belongs to Kubernetes, whose parts act on it; use a key of your own", key)
		}
	}
	if key == "pod-template-hash" || key == "controller-revision-hash" {
		return errors.New("with.key: " + key + " belongs to Kubernetes, whose parts act on it; use a key of your own")
	}
	return nil
}
