package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// ShiftParams are the parameters of kubernetes.shift_traffic.
type ShiftParams struct {
	Name      string           `json:"name" jsonschema:"minLength=1,maxLength=253" jsonschema_description:"Name of the HTTPRoute."`
	Namespace string           `json:"namespace,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Its namespace. Without it: the target's."`
	Weights   map[string]int64 `json:"weights" jsonschema:"minProperties=2,maxProperties=16" jsonschema_description:"The new weight of each backend, 0 to 1000000: in every rule of the route that has all of them."`
	Bounded
}

func (c *cluster) shiftTraffic() *editor {
	return &editor{cluster: c, name: "kubernetes.shift_traffic", params: func() any { return &ShiftParams{} }, plan: c.planShift, shown: c.accepted}
}

func (c *cluster) planShift(ctx context.Context, target incident.Target, with map[string]any) (change, error) {
	var p ShiftParams
	if err := action.Decode(with, &p); err != nil {
		return change{}, err
	}
	wait, err := p.within(c.opts.Wait)
	if err != nil {
		return change{}, err
	}
	var sum int64
	for name, w := range p.Weights {
		if w < 0 || w > 1_000_000 {
			return change{}, fmt.Errorf("with.weights: %d for %s is out of bounds; allowed: 0 to 1000000", w, name)
		}
		sum += w
	}
	if p.Name == "" || len(p.Weights) < 2 || sum == 0 {
		return change{}, errors.New("with.name and with.weights of two backends or more must be given, and not all weights be 0")
	}
	namespace, err := namespaceOf(target, p.Namespace)
	if err != nil {
		return change{}, err
	}
	o, err := c.get(ctx, httpRoutes, "HTTPRoute", namespace, p.Name)
	if err != nil {
		return change{}, err
	}
	e := edited(httpRoutes, o)
	rules, _ := path{"spec", "rules"}.get(o.Object).([]any)
	for i, rule := range rules {
		refs, _ := path{"backendRefs"}.get(rule).([]any)
		if !hasAll(refs, p.Weights) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(p.Weights)) {
			e.Fields = append(e.Fields, to(o, p.Weights[name], "spec", "rules", at(i), "backendRefs", item(map[string]string{"name": name}), "weight"))
		}
	}
	if len(e.Fields) == 0 {
		return change{}, fmt.Errorf("no rule of HTTPRoute %s/%s has each of these backends once: %s", namespace, p.Name, strings.Join(slices.Sorted(maps.Keys(p.Weights)), ", "))
	}
	if s, _ := e.stands(o); s == asWanted {
		return change{}, fmt.Errorf("nothing to do: HTTPRoute %s/%s has these weights already", namespace, p.Name)
	}
	text := fmt.Sprintf("weights of HTTPRoute %s/%s from %s to %s", namespace, p.Name, weights(e, false), weights(e, true))
	return change{
		Edits: []edit{e}, Did: "changed the " + text, Wait: incident.Duration(wait),
		summary: "change the " + text + managed(o), before: weights(e, false), after: weights(e, true),
	}, nil
}

// hasAll reports whether a rule has each of these backends, and once: of two
// with one name nobody could say which is meant.
func hasAll(refs []any, wanted map[string]int64) bool {
	count := map[string]int{}
	for _, r := range refs {
		if m, ok := r.(map[string]any); ok {
			name, _ := m["name"].(string)
			count[name]++
		}
	}
	for name := range wanted {
		if count[name] != 1 {
			return false
		}
	}
	return true
}

// weights are those of an edit, for people.
func weights(e edit, after bool) string {
	var out []string
	for _, f := range e.Fields {
		v := f.Was
		if after {
			v = f.To
		}
		out = append(out, strings.Trim(f.Path[len(f.Path)-2], "{}")+"="+short(v))
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(out, " "), `"name":`, ""), `"`, "")
}

// accepted says whether every gateway of the route has taken its present form.
func (c *cluster) accepted(ctx context.Context, ch change) (bool, string, error) {
	o, err := c.read(ctx, ch.Edits[0])
	if err != nil {
		return false, "", err
	}
	parents, _ := path{"status", "parents"}.get(o.Object).([]any)
	if len(parents) == 0 {
		return false, "no gateway has answered", nil
	}
	for _, parent := range parents {
		for _, kind := range []string{"Accepted", "ResolvedRefs"} {
			condition := path{"conditions", item(map[string]string{"type": kind})}.get(parent)
			switch {
			case whole(path{"observedGeneration"}.get(condition)) < o.GetGeneration():
				return false, "a gateway has not seen the change", nil
			case path{"status"}.get(condition) != "True":
				return false, fmt.Sprintf("a gateway says that %s is %v: %v", kind, path{"status"}.get(condition), path{"message"}.get(condition)), nil
			}
		}
	}
	return true, "", nil
}
