package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// rolloutWait is how long a workload has to follow a change.
const rolloutWait = 5 * time.Minute

// ScaleParams are the parameters of kubernetes.scale.
type ScaleParams struct {
	WorkloadOf
	By     int64   `json:"by,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Add this many replicas. Give by or factor."`
	Factor float64 `json:"factor,omitempty" jsonschema:"exclusiveMinimum=1,maximum=10" jsonschema_description:"Multiply the replicas by this, rounded up. Give by or factor."`
	Max    int64   `json:"max" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Never more replicas than this."`
	Bounded
}

func (c *cluster) scale() *editor {
	return &editor{cluster: c, name: "kubernetes.scale", params: func() any { return &ScaleParams{} }, plan: c.planScale, shown: c.rolledOut}
}

func (c *cluster) planScale(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p ScaleParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(rolloutWait)
	if err != nil {
		return change{}, err
	}
	o, err := c.owning(ctx, target, p.WorkloadOf, "Deployment", "StatefulSet")
	if err != nil {
		return change{}, err
	}
	scalers, err := c.scalersOf(ctx, o)
	if err != nil {
		return change{}, err
	}
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	if len(scalers) > 0 {
		return change{}, fmt.Errorf("%s is scaled by HorizontalPodAutoscaler %s, which would take the change back; use kubernetes.raise_hpa_max", name, scalers[0].GetName())
	}
	now := whole(path{"spec", "replicas"}.get(o.Object))
	wanted, err := more(now, p.By, p.Factor, p.Max)
	if err != nil {
		return change{}, fmt.Errorf("%s: %w", name, err)
	}
	e := edited(apiOf(o.GetKind()), o, to(o, wanted, "spec", "replicas"))
	e.Sub = "scale"
	return change{
		Edits: []edit{e}, Did: fmt.Sprintf("scaled %s from %d to %d replicas", name, now, wanted), Wait: incident.Duration(wait),
		summary: fmt.Sprintf("scale %s from %d to %d replicas", name, now, wanted) + managed(o),
		before:  fmt.Sprintf("%d replicas", now), after: fmt.Sprintf("%d replicas", wanted),
	}, nil
}

// more is the number after now: by more, or times the factor, never over most.
func more(now, by int64, factor float64, most int64) (int64, error) {
	switch {
	case (by == 0) == (factor == 0):
		return 0, errors.New("give one of with.by and with.factor")
	case by < 0 || by > 1000:
		return 0, fmt.Errorf("with.by: %d is out of bounds; allowed: 1 to 1000", by)
	case most < 1 || most > 10000:
		return 0, fmt.Errorf("with.max: %d is out of bounds; allowed: 1 to 10000", most)
	case now < 1:
		return 0, fmt.Errorf("there are %d, which is somebody's decision", now)
	}
	wanted := now + by
	if factor != 0 {
		f, err := action.Factor(factor)
		if err != nil {
			return 0, err
		}
		wanted = int64(math.Ceil(float64(now)*f - 1e-9))
	}
	if wanted = min(wanted, most); wanted <= now {
		return 0, fmt.Errorf("nothing to raise: there are %d and with.max is %d", now, most)
	}
	return wanted, nil
}

// HPAParams are the parameters of kubernetes.raise_hpa_max.
type HPAParams struct {
	WorkloadOf
	Factor float64 `json:"factor,omitempty" jsonschema:"default=2,exclusiveMinimum=1,maximum=10" jsonschema_description:"Multiply the autoscaler's maximum by this, rounded up."`
	Max    int64   `json:"max" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Never raise the autoscaler's maximum over this."`
}

func (c *cluster) raiseHPAMax() *editor {
	return &editor{cluster: c, name: "kubernetes.raise_hpa_max", params: func() any { return &HPAParams{} }, plan: c.planHPA}
}

func (c *cluster) planHPA(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p HPAParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	o, err := c.owning(ctx, target, p.WorkloadOf, "Deployment", "StatefulSet")
	if err != nil {
		return change{}, err
	}
	scalers, err := c.scalersOf(ctx, o)
	if err != nil {
		return change{}, err
	}
	name := objectName(o.GetKind(), o.GetNamespace(), o.GetName())
	if len(scalers) != 1 {
		return change{}, fmt.Errorf("%s has %d HorizontalPodAutoscalers, not one", name, len(scalers))
	}
	scaler := scalers[0]
	now := whole(path{"spec", "maxReplicas"}.get(scaler.Object))
	factor, err := action.Factor(p.Factor)
	if err != nil {
		return change{}, err
	}
	wanted, err := more(now, 0, factor, p.Max)
	if err != nil {
		return change{}, fmt.Errorf("the maximum of HorizontalPodAutoscaler %s: %w", scaler.GetName(), err)
	}
	text := fmt.Sprintf("the maximum of HorizontalPodAutoscaler %s of %s from %d to %d replicas", scaler.GetName(), name, now, wanted)
	return change{
		Edits: []edit{edited(hpas, scaler, to(scaler, wanted, "spec", "maxReplicas"))}, Did: "raised " + text,
		summary: "raise " + text + managed(scaler, o), before: fmt.Sprintf("at most %d", now), after: fmt.Sprintf("at most %d", wanted),
	}, nil
}

// scalersOf lists the horizontal autoscalers of a workload.
func (c *cluster) scalersOf(ctx context.Context, workload *unstructured.Unstructured) (out []*unstructured.Unstructured, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Request)
	defer cancel()
	list, err := c.at(edit{API: hpas, Namespace: workload.GetNamespace()}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the horizontal autoscalers of %s: %w", workload.GetNamespace(), err)
	}
	for i := range list.Items {
		h, err := typed[autoscaling.HorizontalPodAutoscaler](&list.Items[i])
		if err != nil {
			return nil, err
		}
		if t := h.Spec.ScaleTargetRef; t.Kind == workload.GetKind() && t.Name == workload.GetName() {
			list.Items[i].SetKind("HorizontalPodAutoscaler")
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// whole reads a whole number of an object; 0 is none.
func whole(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}
