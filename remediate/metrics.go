package remediate

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what actions did.
type Metrics struct {
	actions *prometheus.CounterVec
}

// NewMetrics registers the metrics of this package.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{actions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kmend_remediate_actions_total",
		Help: "Calls of actions by action, operation (preview, apply, undo) and result (ok, applied, already_applied, undone, error).",
	}, []string{"action", "operation", "result"})}
	reg.MustRegister(m.actions)
	return m
}

func (m *Metrics) count(action, operation, result string) {
	if m != nil {
		m.actions.WithLabelValues(action, operation, result).Inc()
	}
}

// outcome is the label for a result: "already applied" -> already_applied.
func outcome(result string, err error) string {
	if err != nil {
		return "error"
	}
	return strings.ReplaceAll(result, " ", "_")
}
