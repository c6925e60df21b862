package metrics

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/incident"
)

// burning are how far back burn rates look: what burns now, and what has burnt for
// longer (Google, The Site Reliability Workbook, chapter 5).
func burning() []time.Duration { return []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} }

// concerns reports whether an SLO is the alert's: a label names it, or it is about the
// same workload or service.
func (m *Metrics) concerns(s SLO, inc incident.Incident) bool {
	for _, a := range inc.Alerts {
		if slices.ContainsFunc(m.SLOLabels, func(label string) bool { return a.Labels[label] == s.Name }) {
			return true
		}
	}
	for _, t := range []incident.Target{inc.Target, inc.Aim()} {
		same := s.Target.Workload != "" && s.Target.Workload == t.Workload || s.Target.Service != "" && s.Target.Service == t.Service
		if same && s.Target.Namespace == t.Namespace {
			return true
		}
	}
	return false
}

// budget says how fast an SLO burns its error budget, as a multiple of what would use
// it up in its window, and what is left.
func (m *Metrics) budget(ctx context.Context, n *notes, s SLO) error {
	var ids []string
	said := ""
	windows := slices.DeleteFunc(burning(), func(w time.Duration) bool { return w >= s.Window })
	for _, window := range append(windows, s.Window) {
		missed, ok, err := m.missed(ctx, s, window)
		if err != nil {
			return fmt.Errorf("SLO %s: %w", s.Name, err)
		}
		span := model.Duration(window).String()
		rate := missed / (1 - s.Objective)
		switch {
		case !ok:
			said += fmt.Sprintf(", no requests in %s", span)
		case window == s.Window:
			left := 100 * (1 - rate)
			ids = append(ids, n.measured("error budget left", s.Name, left, "%"))
			said += fmt.Sprintf("; %s%% of the budget of %s is left", number(left), span)
		default:
			ids = append(ids, n.measured("burn rate over "+span, s.Name, rate, "times"))
			said += fmt.Sprintf(", %s times over %s", number(rate), span)
		}
	}
	n.say("burn_rate", "", ids, "SLO %s (%s%%) burns its error budget:%s", s.Name, number(100*s.Objective), said[1:])
	return nil
}

// missed is the share of the requests that missed the objective; ok is false without
// any requests.
func (m *Metrics) missed(ctx context.Context, s SLO, window time.Duration) (share float64, ok bool, err error) {
	counts := [2]float64{}
	for i, q := range []string{s.Requests, s.Errors} {
		query, err := fill(q, s.values(window))
		if err != nil {
			return 0, false, err
		}
		n, ok, err := m.number(ctx, query, m.Now())
		if err != nil {
			return 0, false, err
		}
		if ok { // no series of errors: no errors
			counts[i] = n
		}
	}
	if counts[0] <= 0 {
		return 0, false, nil
	}
	return min(1, max(0, counts[1]/counts[0])), true, nil
}
