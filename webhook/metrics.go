package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what arrives.
type Metrics struct {
	notifications *prometheus.CounterVec // by result
	alerts        *prometheus.CounterVec // by status, of accepted notifications
	truncated     prometheus.Counter
	seconds       prometheus.Histogram
}

// Results of one request: the label of kmend_webhook_notifications_total.
const (
	resultAccepted     = "accepted"
	resultMalformed    = "malformed"
	resultUnauthorized = "unauthorized"
	resultTooLarge     = "too_large"
	resultFull         = "full"
	resultUnavailable  = "unavailable"
	resultRefused      = "refused" // wrong method or content type
)

// NewMetrics registers the webhook's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_webhook_notifications_total",
			Help: "Webhook calls by result; accepted means committed to disk.",
		}, []string{"result"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kmend_webhook_alerts_total",
			Help: "Alerts in accepted notifications, by status.",
		}, []string{"status"}),
		truncated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kmend_webhook_truncated_alerts_total",
			Help: "Alerts that senders left out of accepted notifications (Alertmanager's max_alerts).",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kmend_webhook_accept_seconds",
			Help:    "Time from the request to the answer, of accepted notifications.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
	}
	for _, r := range []string{resultAccepted, resultMalformed, resultUnauthorized, resultTooLarge, resultFull, resultUnavailable, resultRefused} {
		m.notifications.WithLabelValues(r)
	}
	reg.MustRegister(m.notifications, m.alerts, m.truncated, m.seconds)
	return m
}

func (m *Metrics) count(result string) { m.notifications.WithLabelValues(result).Inc() }

func (m *Metrics) observe(start time.Time) { m.seconds.Observe(time.Since(start).Seconds()) }
