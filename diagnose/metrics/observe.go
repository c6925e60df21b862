package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// maxAlerts bounds how many alerts of an incident are looked into.
const maxAlerts = 3

// notes collects what is observed.
type notes struct{ investigate.Observed }

// measured keeps a number and returns its id.
func (n *notes) measured(metric, subject string, value float64, unit string) string {
	id := fmt.Sprintf("m%d", len(n.Evidence)+1)
	n.Evidence = append(n.Evidence, incident.Evidence{ID: id, Probe: "prometheus", Metric: metric, Subject: subject, Value: value, Unit: unit})
	return id
}

func (n *notes) say(kind string, stance incident.Stance, ids []string, format string, args ...any) {
	n.Observations = append(n.Observations, incident.Observation{Source: "prometheus", Kind: kind, Stance: stance, Message: fmt.Sprintf(format, args...), Evidence: ids})
}

// Observe says what Prometheus knows of the alert and of what was found: the alert's
// expression now and in the time before, the pod among its siblings, and the error
// budgets. One part that fails keeps none of the others back.
func (m *Metrics) Observe(ctx context.Context, inc incident.Incident) (investigate.Observed, error) {
	var n notes
	var errs []error
	seen := map[string]bool{}
	for _, a := range inc.Alerts {
		if key := a.Name() + "\n" + a.GeneratorURL; a.Status != incident.Resolved && !seen[key] && len(seen) < maxAlerts {
			seen[key] = true
			errs = append(errs, m.alert(ctx, &n, inc, a))
		}
	}
	errs = append(errs, m.siblings(ctx, &n, inc))
	for _, s := range m.SLOs {
		if m.concerns(s, inc) {
			errs = append(errs, m.budget(ctx, &n, s))
		}
	}
	return n.Observed, errors.Join(errs...)
}

// alert says what the alert's expression gives, and what it gave before.
func (m *Metrics) alert(ctx context.Context, n *notes, inc incident.Incident, a incident.Alert) error {
	r, err := m.ruleOf(ctx, a)
	if err != nil {
		n.say("alert", "", nil, "the expression of alert %.80q is not known: %v", a.Name(), err)
		return nil // it is said
	}
	over := ""
	if r.limit != "" {
		over = ", and the rule fires at " + r.limit
	}
	if r.hold > 0 {
		over += " for " + model.Duration(r.hold).String()
	}
	if r.window > 0 {
		over += ", over a window of " + model.Duration(r.window).String()
	}
	now := m.Now()
	v, err := m.vector(ctx, r.value, now)
	if err != nil {
		return fmt.Errorf("alert %.80q: %w", a.Name(), err)
	}
	i := slices.IndexFunc(v, func(s *model.Sample) bool { return ofAlert(s.Metric, a) && usable(float64(s.Value)) })
	if i < 0 {
		n.say("alert", "", nil, "alert %.80q is of %s%s; it has no series with the alert's labels now", a.Name(), short(r.expr), over)
		return nil
	}
	value := float64(v[i].Value)
	id := n.measured(short(r.value), "now", value, "")
	n.say("alert", "", []string{id}, "alert %.80q: %s is %s now%s", a.Name(), short(r.value), number(value), over)
	if inc.Aim().Pod == "" {
		series(n, r.value, v, i)
	}
	return m.baseline(ctx, n, a, r, value, id)
}

// series compares what is no pod, and has no siblings in a cluster, with the other
// series of the alert's expression.
func series(n *notes, query string, v model.Vector, at int) {
	var scores []score
	for _, s := range v {
		if usable(float64(s.Value)) {
			scores = append(scores, score{short(s.Metric.String()), float64(s.Value)})
		}
	}
	mine := score{short(v[at].Metric.String()), float64(v[at].Value)}
	sortScores(scores)
	if len(scores) >= leastSiblings {
		compare(n, scores, slices.Index(scores, mine), query)
	}
}

// baseline compares with the time before the expression can have seen the fault.
func (m *Metrics) baseline(ctx context.Context, n *notes, a incident.Alert, r rule, value float64, id string) error {
	end := a.StartsAt
	if end.IsZero() || end.After(m.Now()) {
		end = m.Now()
	}
	end = end.Add(-r.hold - r.window)
	x, err := m.before(ctx, r.value, end)
	if err != nil {
		return fmt.Errorf("alert %.80q: %w", a.Name(), err)
	}
	var was []float64
	for _, s := range x {
		if !ofAlert(s.Metric, a) {
			continue
		}
		for _, p := range s.Values {
			if f := float64(p.Value); usable(f) {
				was = append(was, f)
			}
		}
	}
	span := model.Duration(m.Baseline).String()
	if len(was) == 0 {
		n.say("baseline", "", nil, "there is nothing to compare with: no values in the %s before the alert", span)
		return nil
	}
	usual := median(was)
	before := n.measured(short(r.value), span+" before", usual, "")
	n.say("baseline", "", []string{before, id}, "in the %s before it was %s (the median of %d values)%s", span, number(usual), len(was), times(value, usual))
	return nil
}

// times says how much more or less.
func times(now, before float64) string {
	switch ratio := now / before; {
	case before == 0 || ratio < 0 || !usable(ratio):
		return ""
	case ratio >= 1.1:
		return fmt.Sprintf("; it is %s times that now", number(ratio))
	case ratio <= 0.9:
		return fmt.Sprintf("; it is %s of that now", number(ratio))
	}
	return "; it is about the same now"
}

// outlying is the modified z-score above which a pod is an outlier among its siblings:
// 0.6745 (x - median) / MAD > 3.5 (Iglewicz and Hoaglin, How to Detect and Handle
// Outliers, 1993).
const outlying = 3.5

// leastSiblings is how many pods make a median worth the name.
const leastSiblings = 3

// siblings says whether the pod that was diagnosed is one of a kind.
func (m *Metrics) siblings(ctx context.Context, n *notes, inc incident.Incident) error {
	aim := inc.Aim()
	if m.Workloads == nil || aim.Pod == "" {
		return nil
	}
	of := inc
	if !of.Target.Many() {
		of.Target = aim
	}
	pods, err := m.Workloads.Siblings(ctx, of.Target)
	if err != nil {
		n.say("outlier", "", nil, "the siblings of %s are not known: %v", aim, err)
		return nil // it is said
	}
	if len(pods) < leastSiblings {
		return nil
	}
	scores, query, err := m.scores(ctx, of, pods)
	if err != nil {
		n.say("outlier", "", nil, "%s is not compared with its siblings: %v", aim, err)
		return nil // it is said
	}
	at := slices.IndexFunc(scores, func(s score) bool { return s.pod == aim.Pod })
	if at < 0 || len(scores) < leastSiblings {
		return nil
	}
	compare(n, scores, at, query)
	return nil
}

// compare says how far scores[at] is from the others.
func compare(n *notes, scores []score, at int, query string) {
	all := make([]float64, len(scores))
	for i, s := range scores {
		all[i] = s.value
	}
	mid := median(all)
	mine := scores[at]
	ids := []string{n.measured(short(query), mine.pod, mine.value, ""), n.measured(short(query), fmt.Sprintf("median of %d", len(scores)), mid, "")}
	if isOutlier(mine.value, all) {
		n.say("outlier", incident.Supports, ids, "%s is an outlier among its %d siblings: %s against a median of %s", mine.pod, len(scores)-1, number(mine.value), number(mid))
		return
	}
	if top := scores[0]; top.pod != mine.pod && isOutlier(top.value, all) {
		ids = append(ids, n.measured(short(query), top.pod, top.value, ""))
		n.say("outlier", incident.Contradicts, ids, "%s is as its siblings (%s, median %s), and %s is the outlier: %s", mine.pod, number(mine.value), number(mid), top.pod, number(top.value))
		return
	}
	n.say("outlier", "", ids, "%s is as its %d siblings: %s, median %s", mine.pod, len(scores)-1, number(mine.value), number(mid))
}

// isOutlier reports whether x is far above the others. Where more than half of them
// are the same, the MAD is 0: then it has to be twice the median, too.
func isOutlier(x float64, all []float64) bool {
	mid := median(all)
	far := make([]float64, len(all))
	for i, v := range all {
		far[i] = math.Abs(v - mid)
	}
	mad := median(far)
	if mad == 0 {
		return x > mid && x >= 2*mid
	}
	return 0.6745*(x-mid)/mad > outlying
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
