package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/incident"
)

// score is what Prometheus says of one pod.
type score struct {
	pod   string
	value float64
}

// Rank puts the pods with the highest values first: by the query that is configured
// for the alert, else by the alert's own expression where its series are of pods.
func (m *Metrics) Rank(ctx context.Context, inc incident.Incident, pods []incident.Target) ([]incident.Target, string, error) {
	scores, query, err := m.scores(ctx, inc, pods)
	if err != nil {
		return nil, "", err
	}
	var first []incident.Target
	var said []string
	for _, s := range scores {
		n := slices.IndexFunc(pods, func(p incident.Target) bool { return p.Pod == s.pod })
		first = append(first, pods[n])
		if len(said) < 3 {
			said = append(said, fmt.Sprintf("%s %s", s.pod, number(s.value)))
		}
	}
	return first, fmt.Sprintf("the suspicious pods first by Prometheus (%s; %s)", strings.Join(said, ", "), short(query)), nil
}

// scores are the values of the pods, the highest first. Those of others are left out.
func (m *Metrics) scores(ctx context.Context, inc incident.Incident, pods []incident.Target) (_ []score, query string, err error) {
	label := "pod"
	for _, s := range m.Suspects {
		if s.isFor(inc.Alerts) {
			label = s.PodLabel
			if query, err = fill(s.Query, values(inc.Target, pods)); err != nil {
				return nil, "", fmt.Errorf("prometheus.suspects: %w", err)
			}
			break
		}
	}
	if query == "" {
		if len(inc.Alerts) == 0 {
			return nil, "", fmt.Errorf("the incident has no alert")
		}
		r, err := m.ruleOf(ctx, inc.Alerts[0])
		if err != nil {
			return nil, "", fmt.Errorf("no query of prometheus.suspects is for the alert, and %w", err)
		}
		query = r.value
	}
	v, err := m.vector(ctx, query, m.Now())
	if err != nil {
		return nil, "", err
	}
	scores := ofPods(v, model.LabelName(label), pods)
	if len(scores) == 0 {
		return nil, "", fmt.Errorf("none of the pods is among the %d series of %s; its label %s would have to name them", len(v), short(query), label)
	}
	return scores, query, nil
}

// isFor reports whether the query is for one of the alerts.
func (s Suspect) isFor(alerts []incident.Alert) bool {
	return slices.ContainsFunc(alerts, func(a incident.Alert) bool {
		fits := s.Alert == nil || s.Alert.MatchString(a.Name())
		for name, value := range s.Labels {
			fits = fits && a.Labels[name] == value
		}
		return fits
	})
}

// ofPods adds up the series of each pod, the highest first. Pods of other namespaces
// are others.
func ofPods(v model.Vector, label model.LabelName, pods []incident.Target) (scores []score) {
	for _, p := range pods {
		sum, there := 0.0, false
		for _, s := range v {
			namespace, has := s.Metric["namespace"]
			if string(s.Metric[label]) != p.Pod || has && string(namespace) != p.Namespace || !usable(float64(s.Value)) {
				continue
			}
			sum, there = sum+float64(s.Value), true
		}
		if there {
			scores = append(scores, score{p.Pod, sum})
		}
	}
	sortScores(scores)
	return scores
}

// sortScores puts the highest first.
func sortScores(scores []score) {
	slices.SortStableFunc(scores, func(a, b score) int { return cmp.Compare(b.value, a.value) })
}

func number(f float64) string { return fmt.Sprintf("%.4g", f) }
