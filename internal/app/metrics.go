package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of the wiring itself.
type Metrics struct {
	failed, last *prometheus.GaugeVec
	nodes        *prometheus.GaugeVec   // agent
	asks         *prometheus.CounterVec // result
	certificate  prometheus.Gauge
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kmend_config_reload_failed",
			Help: "1 while the files of runbooks, policies or routes are broken and the old ones are in use."}, []string{"what"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kmend_config_last_reload_success_timestamp_seconds",
			Help: "When runbooks, policies or routes were last read."}, []string{"what"}),
		nodes: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kmend_nodes",
			Help: "Nodes that kmend knows by what their agents are: present, or missing (none is ready there, or it did not answer when it was last asked)."}, []string{"agent"}),
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_agent_checks_total",
			Help: "Questions to agents whether they are there, by result: answered, failed. Each is asked at least once an hour."}, []string{"result"}),
		certificate: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmend_agent_certificate_expiry_timestamp_seconds",
			Help: "When the first of the certificates that agents showed when they were last asked is no longer good; 0: none is known."}),
	}
	for _, r := range []string{answered, unanswered} { // an alert on a rate needs a zero first
		m.asks.WithLabelValues(r)
	}
	reg.MustRegister(m.failed, m.last, m.nodes, m.asks, m.certificate)
	return m
}

func (m *Metrics) loaded(what string, err error) {
	if err != nil {
		m.failed.WithLabelValues(what).Set(1)
		return
	}
	m.failed.WithLabelValues(what).Set(0)
	m.last.WithLabelValues(what).SetToCurrentTime()
}

// The results of asking an agent.
const (
	answered   = "answered"
	unanswered = "failed"
)

func (m *Metrics) asked(err error) {
	result := answered
	if err != nil {
		result = unanswered
	}
	m.asks.WithLabelValues(result).Inc()
}

// fleet takes how many nodes there are, how many of them have no agent that answers,
// and when the first certificate expires; zero: not known.
func (m *Metrics) fleet(nodes, missing int, expires time.Time) {
	m.nodes.WithLabelValues("present").Set(float64(nodes - missing))
	m.nodes.WithLabelValues("missing").Set(float64(missing))
	at := 0.0
	if !expires.IsZero() {
		at = float64(expires.Unix())
	}
	m.certificate.Set(at)
}
