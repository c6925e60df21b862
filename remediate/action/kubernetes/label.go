package kubernetes

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// LabelParams are the parameters of kubernetes.label.
type LabelParams struct {
	Object string `json:"object" jsonschema:"enum=pod,enum=node,enum=workload" jsonschema_description:"What gets the label: the target's pod, its node or the workload that owns it."`
	Key    string `json:"key" jsonschema:"minLength=1,maxLength=317" jsonschema_description:"Key of the label. Keys of kubernetes.io and k8s.io belong to Kubernetes and are refused."`
	Value  string `json:"value,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Value of the label."`
	Remove bool   `json:"remove,omitempty" jsonschema_description:"Remove the label instead."`
}

func (c *cluster) label() *editor {
	return &editor{cluster: c, name: "kubernetes.label", params: func() any { return &LabelParams{} }, plan: c.planLabel}
}

func (c *cluster) planLabel(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p LabelParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	if err := ownKey(p.Key, p.Value); err != nil {
		return change{}, err
	}
	api, o, err := c.labelled(ctx, target, p)
	if err != nil {
		return change{}, err
	}
	var value any = p.Value
	if p.Remove {
		value = nil
	}
	f := to(o, value, "metadata", "labels", p.Key)
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	if same(f.Was, f.To) {
		return change{}, fmt.Errorf("nothing to do: label %s of %s is %s already", p.Key, name, short(f.To))
	}
	text := fmt.Sprintf("label %s of %s from %s to %s", p.Key, name, short(f.Was), short(f.To))
	return change{
		Edits: []edit{edited(api, o, f)}, Did: "changed " + text, summary: "change " + text + managed(o),
		before: short(f.Was), after: short(f.To),
	}, nil
}

// labelled reads what is labelled. The labels by which a pod's controller and
// its Services know it are not touched here.
func (c *cluster) labelled(ctx context.Context, target incident.Target, p LabelParams) (string, *unstructured.Unstructured, error) {
	switch p.Object {
	case "node":
		_, o, err := c.node(ctx, target, NodeOf{})
		return nodes, o, err
	case "workload":
		o, err := c.owning(ctx, target, WorkloadOf{}, "Deployment", "StatefulSet", "DaemonSet")
		if err != nil {
			return "", nil, err
		}
		return apiOf(o.GetKind()), o, nil
	case "pod":
		pod, o, err := c.targetPod(ctx, target)
		if err != nil {
			return "", nil, err
		}
		keys, err := c.ownerKeys(ctx, o)
		if err != nil {
			return "", nil, err
		}
		selecting, err := c.servicesOf(ctx, pod)
		if err != nil {
			return "", nil, err
		}
		for _, s := range selecting {
			for key := range s.Spec.Selector {
				keys[key] = true
			}
		}
		if keys[p.Key] {
			return "", nil, fmt.Errorf("label %s of pod %s is how its controller or a Service knows it; use kubernetes.leave_service", p.Key, ref(pod))
		}
		return pods, o, nil
	}
	return "", nil, fmt.Errorf("with.object: %q is not allowed; allowed: pod, node, workload", p.Object)
}
