package slack

import "github.com/prometheus/client_golang/prometheus"

// Results of one call: the label of kmend_slack_clicks_total.
const (
	resultTaken       = "taken"
	resultOther       = "other" // signed, and no button of ours
	resultForged      = "forged"
	resultReplayed    = "replayed"
	resultMalformed   = "malformed"
	resultFull        = "full"
	resultUnavailable = "unavailable"
	resultUntold      = "untold" // who clicked could not be told
)

// Metrics count the calls for Slack.
type Metrics struct{ clicks *prometheus.CounterVec }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kmend_slack_clicks_total",
		Help: "Calls of Slack's interactivity, by HTTP and in Socket Mode, by result.",
	}, []string{"result"})}
	for _, r := range []string{resultTaken, resultOther, resultForged, resultReplayed, resultMalformed, resultFull, resultUnavailable, resultUntold} {
		m.clicks.WithLabelValues(r)
	}
	reg.MustRegister(m.clicks)
	return m
}

func (m *Metrics) count(result string) { m.clicks.WithLabelValues(result).Inc() }
