package metrics

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/incident"
)

// placeholder is $namespace and its like in a query.
var placeholder = regexp.MustCompile(`\$[a-z]+`)

// plain is what may stand in a query for a placeholder: names as Kubernetes has them.
// A label of an alert could hold a quote and the rest of another query.
var plain = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

// examples are values for checking a query that was just configured.
var examples = map[string]string{"$namespace": "shop", "$workload": "cart", "$service": "cart", "$container": "app", "$node": "n1", "$pods": "cart-1|cart-2"}

// fill puts names into a query. One that is empty has no place in it either: it would
// match what has no such label.
func fill(query string, values map[string]string) (string, error) {
	var err error
	out := placeholder.ReplaceAllStringFunc(query, func(name string) string {
		value, known := values[name]
		switch {
		case !known:
			err = fmt.Errorf("%s is no placeholder; known: %s", name, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
		case value == "":
			err = fmt.Errorf("%s is not known of this target", name)
		case name != "$pods" && !plain.MatchString(value):
			err = fmt.Errorf("%s is %q, which has no place in a query", name, value)
		}
		return value
	})
	return out, err
}

// values are those of a target and its pods.
func values(t incident.Target, pods []incident.Target) map[string]string {
	_, workload := t.WorkloadKind()
	var names []string
	for _, p := range pods {
		if plain.MatchString(p.Pod) {
			names = append(names, strings.ReplaceAll(p.Pod, ".", `\\.`)) // a regular expression in a string
		}
	}
	return map[string]string{"$namespace": t.Namespace, "$workload": workload, "$service": t.Service, "$container": t.Container, "$node": t.Node, "$pods": strings.Join(names, "|")}
}

// values are those of an SLO that is looked at for a while.
func (s SLO) values(window time.Duration) map[string]string {
	v := values(s.Target, nil)
	delete(v, "$pods")
	v["$window"] = model.Duration(window).String()
	return v
}
