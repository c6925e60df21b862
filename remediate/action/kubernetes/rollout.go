package kubernetes

import (
	"context"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// revision is the annotation of Deployments and their ReplicaSets.
const revision = "deployment.kubernetes.io/revision"

func (c *cluster) planRolloutUndo(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p RolloutParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(rolloutWait)
	if err != nil {
		return change{}, err
	}
	o, err := c.owning(ctx, target, p.WorkloadOf, "Deployment")
	if err != nil {
		return change{}, err
	}
	if err := rolls(o); err != nil {
		return change{}, err
	}
	template, from, before, err := c.previous(ctx, o)
	if err != nil {
		return change{}, err
	}
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	return change{
		Edits: []edit{edited(deployments, o, to(o, template, "spec", "template"))}, Wait: incident.Duration(wait),
		Did:     fmt.Sprintf("rolled %s back from revision %d to %d", name, from, before),
		summary: fmt.Sprintf("roll %s back from revision %d to %d (%s)", name, from, before, images(template)) + managed(o),
		before:  fmt.Sprintf("revision %d", from), after: fmt.Sprintf("the template of revision %d", before),
	}, nil
}

// previous is the pod template before the present one: that of the ReplicaSet
// with the highest revision below the Deployment's.
func (c *cluster) previous(ctx context.Context, deployment *unstructured.Unstructured) (template map[string]any, from, before int64, err error) {
	from, err = strconv.ParseInt(deployment.GetAnnotations()[revision], 10, 64)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("deployment %s has no revision yet: %w", deployment.GetName(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.at(edit{API: replicaSets, Namespace: deployment.GetNamespace()}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, 0, 0, fmt.Errorf("listing the ReplicaSets of %s: %w", deployment.GetName(), err)
	}
	for i := range list.Items {
		rs := &list.Items[i]
		r := metav1.GetControllerOf(rs)
		n, err := strconv.ParseInt(rs.GetAnnotations()[revision], 10, 64)
		if r == nil || r.UID != deployment.GetUID() || err != nil || n >= from || n <= before {
			continue
		}
		t, ok := path{"spec", "template"}.get(rs.DeepCopy().Object).(map[string]any)
		if ok {
			template, before = t, n
		}
	}
	if template == nil {
		return nil, 0, 0, fmt.Errorf("deployment %s has no revision before %d", deployment.GetName(), from)
	}
	// The controller puts this one label into the ReplicaSet's template.
	if err := (path{"metadata", "labels", appsv1.DefaultDeploymentUniqueLabelKey}).set(template, nil); err != nil {
		return nil, 0, 0, fmt.Errorf("reading revision %d of %s: %w", before, deployment.GetName(), err)
	}
	return template, from, before, nil
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
