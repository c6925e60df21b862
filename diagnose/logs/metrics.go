package logs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what stores are asked and give.
type Metrics struct {
	queries *prometheus.CounterVec   // by store and result
	lines   *prometheus.CounterVec   // by store
	seconds *prometheus.HistogramVec // by store
}

// NewMetrics registers the reader's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_logs_queries_total",
			Help: "Queries for log lines by store and result: ok, failed.",
		}, []string{"store", "result"}),
		lines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_logs_lines_total",
			Help: "Log lines read, by store.",
		}, []string{"store"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kmend_logs_query_seconds",
			Help:    "Time of a query for log lines, by store.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"store"}),
	}
	reg.MustRegister(m.queries, m.lines, m.seconds)
	return m
}

func (m *Metrics) observe(store string, took time.Duration, lines int, err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.queries.WithLabelValues(store, result).Inc()
	m.lines.WithLabelValues(store).Add(float64(lines))
	m.seconds.WithLabelValues(store).Observe(took.Seconds())
}
