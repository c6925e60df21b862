// Package route says where people are told of an incident: an ordered list of rules in
// the syntax of Alertmanager's matchers, the first of which matches. It stands before
// the flow's ends (report/slack, report/pagerduty), which internal/app hands what it chose.
package route

import (
	"fmt"
	"maps"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"

	"github.com/kmend/kmend/incident"
)

// Rule matches labels: all of its matchers have to.
type Rule struct{ matchers labels.Matchers }

// Parse reads matchers such as team="shop" and severity=~"page|critical".
func Parse(matchers []string) (Rule, error) {
	var r Rule
	for _, text := range matchers {
		m, err := parse.Matcher(text)
		if err != nil {
			return Rule{}, fmt.Errorf("%q is no matcher: %w; write for example team=\"shop\" or severity=~\"page|critical\"", text, err)
		}
		r.matchers = append(r.matchers, m)
	}
	return r, nil
}

// Table is rules in their order.
type Table []Rule

// First is the first rule that one of an incident's alerts matches, -1 when none does.
func (t Table) First(inc incident.Incident) int {
	all := make([]map[string]string, 0, len(inc.Alerts))
	for _, a := range inc.Alerts {
		all = append(all, Labels(inc.Target, a.Labels))
	}
	for i, r := range t {
		for _, l := range all {
			if r.matches(l) {
				return i
			}
		}
	}
	return -1
}

// Labels are what rules match: those of an alert, and namespace is the target's where it has one:
// kube-state-metrics, say, calls it otherwise.
func Labels(target incident.Target, alert map[string]string) map[string]string {
	out := maps.Clone(alert)
	if out == nil {
		out = map[string]string{}
	}
	if target.Namespace != "" {
		out["namespace"] = target.Namespace
	}
	return out
}

// matches: a label that is not there is empty, as for Alertmanager.
func (r Rule) matches(l map[string]string) bool {
	for _, m := range r.matchers {
		if !m.Matches(l[m.Name]) {
			return false
		}
	}
	return true
}
