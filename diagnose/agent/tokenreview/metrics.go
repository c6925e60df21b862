package tokenreview

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what callers were told.
type Metrics struct {
	callers *prometheus.CounterVec
}

// The results of a caller's token.
const (
	letIn     = "let_in"
	refused   = "refused"
	unchecked = "unchecked"
)

// NewMetrics registers the metrics; without a registerer they are kept to themselves.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{callers: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kmend_agent_callers_total",
		Help: "Requests by what became of the caller's token: let_in, refused, unchecked (refused as well: the API server did not answer).",
	}, []string{"result"})}
	for _, result := range []string{letIn, refused, unchecked} {
		m.callers.WithLabelValues(result) // an alert on a rate needs a zero first
	}
	if r != nil {
		r.MustRegister(m.callers)
	}
	return m
}
