package respond

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
)

// Metrics are the flow's figures.
type Metrics struct {
	notifications *prometheus.CounterVec   // result: accepted, full, error
	seeds         *prometheus.CounterVec   // what a notification said of a target: new, extended, repeated, known, superseded, unknown
	closed        *prometheus.CounterVec   // outcome
	phases        *prometheus.HistogramVec // phase
	confirmed     prometheus.Histogram
	open          prometheus.Gauge
	storageErrors prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, which may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_notifications_total",
			Help: "Notifications received, by what they were answered."}, []string{"result"}),
		seeds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_notification_targets_total",
			Help: "Targets named in notifications, by what became of it."}, []string{"result"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_incidents_total",
			Help: "Incidents closed, by outcome."}, []string{"outcome"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kmend_phase_seconds",
			Help: "Time that closed incidents spent in each phase.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 11)}, []string{"phase"}),
		confirmed: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kmend_confirm_overhead_seconds",
			Help: "Time from the notification committed to the cause confirmed, minus the measuring window.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmend_incidents_open", Help: "Incidents that are open, counted anew at every sweep."}),
		storageErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "kmend_storage_errors_total",
			Help: "Writes of the flow that the storage did not take at once."}),
	}
	for _, o := range incident.Outcomes() {
		m.closed.WithLabelValues(string(o))
	}
	if reg != nil {
		reg.MustRegister(m.notifications, m.seeds, m.closed, m.phases, m.confirmed, m.open, m.storageErrors)
	}
	return m
}

// observe counts a closed incident and the time it spent in each phase.
func (m *Metrics) observe(inc incident.Incident) {
	m.closed.WithLabelValues(string(inc.Outcome)).Inc()
	m.open.Dec()
	if len(inc.Timeline) == 0 {
		return
	}
	since := inc.Timeline[0]
	for _, e := range inc.Timeline[1:] {
		if e.Phase == since.Phase {
			continue
		}
		m.phases.WithLabelValues(string(since.Phase)).Observe(e.At.Sub(since.At).Seconds())
		since = e
	}
}
