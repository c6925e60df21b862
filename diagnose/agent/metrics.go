package agent

import (
	"errors"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	measurements *prometheus.CounterVec
	seconds      prometheus.Histogram
	overhead     prometheus.Histogram
	cpu          prometheus.Counter
	lost         prometheus.Counter
	overBudget   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		measurements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_agent_measurements_total",
			Help: "Measurements by how they ended: ok, aborted, invalid, not_found, busy, unsupported, error.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kmend_agent_measurement_seconds",
			Help:    "From the request to the answer, the window included.",
			Buckets: []float64{.25, .5, 1, 2, 3, 3.1, 3.25, 3.5, 4, 5, 10, 30, 60},
		}),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kmend_agent_overhead_seconds",
			Help:    "From the request to the answer, without the window.",
			Buckets: []float64{.005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5},
		}),
		cpu: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kmend_agent_measurement_cpu_seconds_total",
			Help: "CPU time of the agent for measurements, beside what the kernel spends in probes.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kmend_agent_lost_events_total",
			Help: "Events that probes lost.",
		}),
		overBudget: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_agent_over_budget_total",
			Help: "Measurements that stopped themselves for what they took of the agent: cpu, memory.",
		}, []string{"resource"}),
	}
	for _, r := range []string{overCPU, overMemory} { // an alert on a rate needs a zero first
		m.overBudget.WithLabelValues(r)
	}
	if r != nil {
		r.MustRegister(m.measurements, m.seconds, m.overhead, m.cpu, m.lost, m.overBudget)
	}
	return m
}

func (m *metrics) observe(got incident.Measurement, err error, took time.Duration) {
	m.measurements.WithLabelValues(result(got, err)).Inc()
	if err != nil {
		return
	}
	m.seconds.Observe(took.Seconds())
	m.overhead.Observe(max(0, took.Seconds()-got.Window.Seconds))
	m.cpu.Add(got.Cost.CPUMS / 1000)
	for _, p := range got.Probes {
		m.lost.Add(float64(p.Lost))
	}
}

func result(got incident.Measurement, err error) string {
	for kind, word := range map[error]string{
		ErrInvalid: "invalid", ErrNotFound: "not_found", ErrBusy: "busy", ErrUnsupported: "unsupported",
	} {
		if errors.Is(err, kind) {
			return word
		}
	}
	if err != nil {
		return "error"
	}
	for _, p := range got.Probes {
		if p.Status == incident.ProbeAborted {
			return "aborted"
		}
	}
	return "ok"
}
