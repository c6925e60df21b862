package diagnose

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
)

// Metrics counts diagnoses.
type Metrics struct {
	diagnoses *prometheus.CounterVec // by verdict and root cause
	overhead  prometheus.Histogram   // beyond the window
}

// NewMetrics registers the diagnoser's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		diagnoses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_diagnoses_total",
			Help: "Diagnoses by verdict and root cause (empty unless confirmed).",
		}, []string{"verdict", "cause"}),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kmend_diagnosis_overhead_seconds",
			Help:    "Time of a diagnosis beyond its measuring window.",
			Buckets: []float64{.005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	for _, v := range []incident.Verdict{incident.Clean, incident.Inconclusive} { // an alert on a rate needs a zero first
		m.diagnoses.WithLabelValues(string(v), "")
	}
	for _, c := range incident.Causes() {
		m.diagnoses.WithLabelValues(string(incident.Confirmed), string(c))
	}
	reg.MustRegister(m.diagnoses, m.overhead)
	return m
}

func (m *Metrics) observe(d incident.Diagnosis, took, window time.Duration) {
	cause, _ := d.RootCause()
	m.diagnoses.WithLabelValues(string(d.Verdict), string(cause.Cause)).Inc()
	m.overhead.Observe(max(0, took-window).Seconds())
}
