package respond

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Metrics are the flow's figures.
type Metrics struct {
	notifications *prometheus.CounterVec   // result: accepted, full, error
	seeds         *prometheus.CounterVec   // what a notification said of a target: new, extended, repeated, known, superseded, unknown
	closed        *prometheus.CounterVec   // outcome, cause
	tests         *prometheus.CounterVec   // outcome, of test alerts
	denials       *prometheus.CounterVec   // rule
	phases        *prometheus.HistogramVec // phase
	confirmed     prometheus.Histogram
	caused        prometheus.Histogram
	open          prometheus.Gauge
	inPhase       *prometheus.GaugeVec // phase
	oldest        *prometheus.GaugeVec // phase
	paused        prometheus.Gauge
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
			Help: "Incidents closed, by outcome and root cause (empty unless confirmed); those of test alerts are not among them."}, []string{"outcome", "cause"}),
		tests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_test_incidents_total",
			Help: "Incidents of test alerts closed, by outcome."}, []string{"outcome"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_denials_total",
			Help: "Noes of guards and of rules of policies, each time that they were asked about a plan."}, []string{"rule"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kmend_phase_seconds",
			Help: "Time that closed incidents spent in each phase.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 11)}, []string{"phase"}),
		confirmed: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kmend_confirm_overhead_seconds",
			Help: "Time from the notification committed to the cause confirmed, minus the measuring window.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		caused: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kmend_time_to_cause_seconds",
			Help: "Time from the notification committed to the cause confirmed.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmend_incidents_open", Help: "Incidents that are open, counted anew at every sweep."}),
		inPhase: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kmend_incidents_in_phase",
			Help: "Incidents that are open, by phase, at the last sweep."}, []string{"phase"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kmend_incidents_oldest_seconds",
			Help: "For how long the incident that is longest in its phase has been in it, at the last sweep; 0: there is none."}, []string{"phase"}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmend_paused",
			Help: "1 while kmend is paused or nobody can say whether it is, so that it changes nothing; at the last sweep."}),
		storageErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "kmend_storage_errors_total",
			Help: "Writes and sweeps of the flow that the storage did not take at once."}),
	}
	for _, o := range incident.Outcomes() { // an alert on a rate needs a zero first
		m.closed.WithLabelValues(string(o), "")
		for _, c := range incident.Causes() {
			m.closed.WithLabelValues(string(o), string(c))
		}
	}
	m.denials.WithLabelValues("breaker")
	m.waiting(nil)
	if reg != nil {
		reg.MustRegister(m.notifications, m.seeds, m.closed, m.tests, m.denials, m.phases, m.confirmed, m.caused,
			m.open, m.inPhase, m.oldest, m.paused, m.storageErrors)
	}
	return m
}

// observe counts a closed incident and the time it spent in each phase.
func (m *Metrics) observe(inc incident.Incident) {
	if inc.Test {
		m.open.Dec()
		m.tests.WithLabelValues(string(inc.Outcome)).Inc()
		return
	}
	cause := incident.Cause("")
	if inc.Diagnosis != nil {
		root, _ := inc.Diagnosis.RootCause()
		cause = root.Cause
	}
	m.closed.WithLabelValues(string(inc.Outcome), string(cause)).Inc()
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

// waiting takes what is open.
func (m *Metrics) waiting(open []store.Waiting) {
	all := 0
	for _, p := range incident.Phases() {
		if p.Closed() {
			continue
		}
		m.inPhase.WithLabelValues(string(p)).Set(0)
		m.oldest.WithLabelValues(string(p)).Set(0)
	}
	for _, w := range open {
		all += w.Incidents
		m.inPhase.WithLabelValues(string(w.Phase)).Set(float64(w.Incidents))
		m.oldest.WithLabelValues(string(w.Phase)).Set(max(0, time.Since(w.Since).Seconds()))
	}
	m.open.Set(float64(all))
}

// denied counts who said no.
func (m *Metrics) denied(d incident.Decision) {
	counted := false
	for _, a := range d.Answers {
		if a.Effect == incident.Deny {
			m.denials.WithLabelValues(a.Rule).Inc()
			counted = true
		}
	}
	if !counted && d.Effect == incident.Deny {
		m.denials.WithLabelValues(d.Rule).Inc()
	}
}
