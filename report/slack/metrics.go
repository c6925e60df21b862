package slack

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what Slack was told.
type Metrics struct{ messages *prometheus.CounterVec }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kmend_slack_messages_total",
		Help: "Messages to Slack by result; limited and failed ones are sent again.",
	}, []string{"result"})}
	for _, r := range []string{"posted", "edited", "notified", "replied", "picture", "limited", "failed"} {
		m.messages.WithLabelValues(r)
	}
	reg.MustRegister(m.messages)
	return m
}

func (m *Metrics) count(result string) { m.messages.WithLabelValues(result).Inc() }
