package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
)

// resourcesAt is the path of a container's limit or request in a pod, or in a
// workload's template.
func resourcesAt(container, kind, name string, prefix ...string) path {
	return append(slices.Clone(prefix), "spec", "containers", item(map[string]string{"name": container}), "resources", kind, name)
}

// templateEdit writes what a container got in a pod into the template of the
// workload that owns the pod: the limit, and where both is set the request too.
func (c *cluster) templateEdit(ctx context.Context, pod *unstructured.Unstructured, container, name, amount string, both bool) (edit, *unstructured.Unstructured, error) {
	owner, err := c.ownerOf(ctx, pod)
	if err != nil {
		return edit{}, nil, err
	}
	e := edited(apiOf(owner.GetKind()), owner, to(owner, amount, resourcesAt(container, "limits", name, "spec", "template")...))
	if both {
		e.Fields = append(e.Fields, to(owner, amount, resourcesAt(container, "requests", name, "spec", "template")...))
	}
	return e, owner, nil
}

// templated is kubernetes.resize_cpu's second half, with.template: the same
// limit in the template of the pod's workload, whose rollout is waited for.
func (c *cluster) templated() *editor {
	return &editor{cluster: c, name: Name, shown: c.rolledOut}
}

// planTemplate plans and rehearses the second half of r.
func (a *ResizeCPU) planTemplate(ctx context.Context, target incident.Target, r resize) (change, error) {
	if a.templates == nil {
		return change{}, errors.New("with.template needs the dynamic client, which this kmend was made without")
	}
	pod, err := a.templates.get(ctx, pods, "Pod", r.namespace, r.pod)
	if err != nil {
		return change{}, err
	}
	e, owner, err := a.templates.templateEdit(ctx, pod, r.container, "cpu", quantity(r.to.limit).String(), r.to.request != r.from.request)
	if err != nil {
		return change{}, err
	}
	if err := a.templates.rehearse(ctx, e); err != nil {
		return change{}, err
	}
	return change{
		Target: target.String(), Edits: []edit{e}, Wait: incident.Duration(rolloutWait), Did: fmt.Sprintf("raised the CPU limit in the template of %s to %s", e, quantity(r.to.limit)),
		summary: fmt.Sprintf("; in the template of %s too, which begins a rollout", e) + managed(owner),
	}, nil
}

// applyTemplate does the second half of a step that has one. The Execution that
// comes with an error has a Result where the change of the template stays.
func (a *ResizeCPU) applyTemplate(ctx context.Context, target incident.Target, template string) (incident.Execution, error) {
	if template == "" {
		return incident.Execution{}, nil
	}
	if a.templates == nil {
		return incident.Execution{}, errors.New("the plan changes a template, which this kmend was made without")
	}
	return a.templates.templated().Apply(ctx, target, incident.Step{Preview: &incident.Preview{Apply: map[string]string{"change": template}}})
}

// rolledAway reports whether the pod of the plan is gone because the second half
// is done: what a crash cut short before it was recorded.
func (a *ResizeCPU) rolledAway(ctx context.Context, template string) bool {
	ch, err := decodeChange(map[string]string{"change": template})
	return err == nil && a.templates != nil && a.templates.templated().alreadyThere(ctx, ch)
}

// undoTemplate takes the second half back, before the first.
func (a *ResizeCPU) undoTemplate(ctx context.Context, target incident.Target, step incident.Step, template string) error {
	if template == "" {
		return nil
	}
	if a.templates == nil {
		return errors.New("the step changed a template, which this kmend was made without")
	}
	_, err := a.templates.templated().Undo(ctx, target, step, incident.Execution{State: map[string]string{"change": template}})
	return err
}

// withTemplate is m with the second half of a step, if it has one.
func withTemplate(m map[string]string, template string) map[string]string {
	if template == "" {
		return m
	}
	m = maps.Clone(m)
	m["template"] = template
	return m
}
