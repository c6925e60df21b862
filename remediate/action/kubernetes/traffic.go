package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// ConfigParams are the parameters of kubernetes.set_config.
type ConfigParams struct {
	Name      string  `json:"name" jsonschema:"minLength=1,maxLength=253" jsonschema_description:"Name of the ConfigMap."`
	Namespace string  `json:"namespace,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Its namespace. Without it: the target's."`
	Key       string  `json:"key" jsonschema:"minLength=1,maxLength=253" jsonschema_description:"The key, which must be there already."`
	Value     *string `json:"value" jsonschema:"maxLength=65536" jsonschema_description:"Its new value. It is shown in the plan: never a secret."`
}

func (c *cluster) setConfig() *editor {
	return &editor{cluster: c, name: "kubernetes.set_config", params: func() any { return &ConfigParams{} },
		plan: func(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
			var p ConfigParams
			if err := action.Decode(with, &p); err != nil {
				return change{}, err
			}
			if p.Name == "" || p.Key == "" || p.Value == nil || len(*p.Value) > 65536 {
				return change{}, errors.New("with.name, with.key and with.value must be given, and the value have at most 65536 bytes")
			}
			namespace, err := namespaceOf(target, p.Namespace)
			if err != nil {
				return change{}, err
			}
			if namespace == c.opts.Own {
				return change{}, fmt.Errorf("ConfigMap %s/%s is in kmend's own namespace: it does not change its own policies and configuration", namespace, p.Name)
			}
			m, o, err := read1[corev1.ConfigMap](ctx, c, configMaps, "ConfigMap", namespace, p.Name)
			if err != nil {
				return change{}, err
			}
			now, ok := m.Data[p.Key]
			switch {
			case m.Immutable != nil && *m.Immutable:
				return change{}, fmt.Errorf("ConfigMap %s/%s is immutable", namespace, p.Name)
			case !ok:
				return change{}, fmt.Errorf("ConfigMap %s/%s has no key %s", namespace, p.Name, p.Key)
			case now == *p.Value:
				return change{}, fmt.Errorf("nothing to do: key %s of ConfigMap %s/%s has that value already", p.Key, namespace, p.Name)
			}
			text := fmt.Sprintf("key %s of ConfigMap %s/%s from %s to %s", p.Key, namespace, p.Name, short(now), short(*p.Value))
			return change{
				Edits: []edit{edited(configMaps, o, to(o, *p.Value, "data", p.Key))}, Did: "set " + text,
				summary: "set " + text + "; programs that read it only when they start need a restart" + managed(o),
				before:  short(now), after: short(*p.Value),
			}, nil
		}}
}

// PointParams are the parameters of kubernetes.point_service.
type PointParams struct {
	Name      string            `json:"name" jsonschema:"minLength=1,maxLength=63" jsonschema_description:"Name of the Service."`
	Namespace string            `json:"namespace,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Its namespace. Without it: the target's."`
	Selector  map[string]string `json:"selector" jsonschema:"minProperties=1,maxProperties=16" jsonschema_description:"The labels of the pods that shall answer from now on, the standby's: the whole selector. At least one of them must be ready."`
	Bounded
}

func (c *cluster) pointService() *editor {
	return &editor{cluster: c, name: "kubernetes.point_service", params: func() any { return &PointParams{} },
		plan: c.planPoint, check: c.standbyReady, shown: c.pointsThere}
}

func (c *cluster) planPoint(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p PointParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(c.opts.Wait)
	if err != nil {
		return change{}, err
	}
	if p.Name == "" || len(p.Selector) == 0 {
		return change{}, errors.New("with.name and with.selector must be given")
	}
	selector := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(p.Selector)) {
		if bad := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(p.Selector[key])...); len(bad) > 0 {
			return change{}, fmt.Errorf("with.selector: %q=%q: %s", key, p.Selector[key], strings.Join(bad, "; "))
		}
		selector[key] = p.Selector[key]
	}
	namespace, err := namespaceOf(target, p.Namespace)
	if err != nil {
		return change{}, err
	}
	service, o, err := read1[corev1.Service](ctx, c, services, "Service", namespace, p.Name)
	if err != nil {
		return change{}, err
	}
	now, then := labels.Set(service.Spec.Selector), labels.Set(p.Selector)
	switch {
	case len(now) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName:
		return change{}, fmt.Errorf("service %s/%s selects no pods: its endpoints are somebody else's", namespace, p.Name)
	case labels.Equals(now, then):
		return change{}, fmt.Errorf("nothing to do: Service %s/%s points at %s already", namespace, p.Name, then)
	}
	text := fmt.Sprintf("Service %s/%s from %s to %s", namespace, p.Name, now, then)
	return change{
		Edits: []edit{edited(services, o, to(o, selector, "spec", "selector"))}, Did: "pointed " + text, Wait: incident.Duration(wait),
		Notes:   map[string]string{"namespace": namespace, "service": p.Name},
		summary: "point " + text + managed(o), before: now.String(), after: then.String(),
	}, nil
}

// wantedSelector are the labels that the change brings.
func wantedSelector(ch change) labels.Set {
	out := labels.Set{}
	m, _ := ch.Edits[0].Fields[0].To.(map[string]any)
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

// standbyReady refuses to point a Service at pods of which none is ready.
func (c *cluster) standbyReady(ctx context.Context, ch change) error {
	ready, err := c.readyPods(ctx, ch.Notes["namespace"], wantedSelector(ch))
	if err != nil {
		return err
	}
	if len(ready) == 0 {
		return fmt.Errorf("no pod with %s is ready in %s: nobody would answer", wantedSelector(ch), ch.Notes["namespace"])
	}
	return nil
}

// pointsThere says whether the Service's endpoints are pods of the selector, and
// only those.
func (c *cluster) pointsThere(ctx context.Context, ch change) (bool, string, error) {
	uids, err := c.serving(ctx, ch.Notes["namespace"], ch.Notes["service"])
	if err != nil {
		return false, "", err
	}
	ready, err := c.readyPods(ctx, ch.Notes["namespace"], wantedSelector(ch))
	if err != nil {
		return false, "", err
	}
	if len(ready) == 0 && ch.Notes["undo"] != "" {
		return true, "", nil // what it is put back to may be what had failed
	}
	for uid := range uids {
		if !ready[uid] {
			return false, "the endpoints still have other pods", nil
		}
	}
	if len(uids) == 0 {
		return false, "the Service has no ready endpoint", nil
	}
	return true, "", nil
}
