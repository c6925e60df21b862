package kubernetes

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// RolloutParams are the parameters of kubernetes.rollout_restart and kubernetes.rollout_undo.
type RolloutParams struct {
	WorkloadOf
	Bounded
}

// restartedAt is the annotation by which kubectl restarts a rollout, too.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

func (c *cluster) rolloutRestart() *editor {
	return &editor{cluster: c, name: "kubernetes.rollout_restart", params: func() any { return &RolloutParams{} }, irreversible: true, shown: c.rolledOut,
		plan: func(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
			var p RolloutParams
			if err := action.Decode(with, &p); err != nil {
				return change{}, err
			}
			wait, err := p.within(rolloutWait)
			if err != nil {
				return change{}, err
			}
			o, err := c.owning(ctx, target, p.WorkloadOf, "Deployment", "StatefulSet", "DaemonSet")
			if err != nil {
				return change{}, err
			}
			if err := rolls(o); err != nil {
				return change{}, err
			}
			name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
			f := to(o, time.Now().UTC().Format(time.RFC3339Nano), "spec", "template", "metadata", "annotations", restartedAt)
			return change{
				Edits: []edit{edited(apiOf(o.GetKind()), o, f)}, Did: "restarted " + name, Wait: incident.Duration(wait),
				summary: "restart all pods of " + name + " by its rollout strategy" + managed(o),
				before:  "running", after: "restarted",
			}, nil
		}}
}

// rolls refuses workloads whose controller would not replace the pods.
func rolls(o *unstructured.Unstructured) error {
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	if paused, _ := (path{"spec", "paused"}).get(o.Object).(bool); paused {
		return fmt.Errorf("the rollouts of %s are paused (spec.paused)", name)
	}
	if t := (path{"spec", "updateStrategy", "type"}).get(o.Object); t == string(appsv1.OnDeleteStatefulSetStrategyType) {
		return fmt.Errorf("%s replaces its pods only when they are deleted (updateStrategy OnDelete)", name)
	}
	return nil
}

func (c *cluster) rolloutUndo() *editor {
	return &editor{cluster: c, name: "kubernetes.rollout_undo", params: func() any { return &RolloutParams{} }, plan: c.planRolloutUndo, shown: c.rolledOut}
}

func (c *cluster) planRolloutUndo(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p RolloutParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(rolloutWait)
	if err != nil {
		return change{}, err
	}
	o, err := c.owning(ctx, target, p.WorkloadOf, "Deployment", "StatefulSet", "DaemonSet")
	if err != nil {
		return change{}, err
	}
	if err := rolls(o); err != nil {
		return change{}, err
	}
	now, before, err := c.history(ctx, o)
	if err != nil {
		return change{}, err
	}
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	return change{
		Edits:   []edit{edited(apiOf(o.GetKind()), o, field{Path: path{"spec", "template"}, WasIn: &now.revision, ToIn: &before.revision})},
		Wait:    incident.Duration(wait),
		Did:     fmt.Sprintf("rolled %s back from revision %d to %d", name, now.number, before.number),
		summary: fmt.Sprintf("roll %s back from revision %d to %d (%s)", name, now.number, before.number, images(before.template)) + managed(o),
		before:  fmt.Sprintf("revision %d", now.number), after: fmt.Sprintf("the template of revision %d", before.number),
	}, nil
}

// images are those of a pod template, for people.
func images(template map[string]any) (out string) {
	list, _ := path{"spec", "containers"}.get(template).([]any)
	for _, c := range list {
		m, _ := c.(map[string]any)
		if image, ok := m["image"].(string); ok {
			if out != "" {
				out += ", "
			}
			out += image
		}
	}
	return out
}
