package llm

import "github.com/prometheus/client_golang/prometheus"

// Why a summary is what it is: the label of kmend_llm_summaries_total.
const (
	byModel    = "model"
	quiet      = "not_needed" // an incident that needs none of a model
	tooLate    = "late"       // nobody waits for it any more
	overBudget = "over_budget"
	tooSlow    = "slow"
	isLimited  = "limited"
	isRefused  = "refused"
	isBroken   = "broken"
	ungrounded = "ungrounded"
	withheld   = "withheld" // by the judge
)

// Metrics are what models did and cost.
type Metrics struct {
	summaries *prometheus.CounterVec
	sentences *prometheus.CounterVec
	tokens    *prometheus.CounterVec
	cost      prometheus.Counter
	seconds   prometheus.Histogram
	scores    *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		summaries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_llm_summaries_total",
			Help: "Summaries by result; all but model are kmend's own."}, []string{"result"}),
		sentences: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_llm_sentences_total",
			Help: "Sentences of models, kept or dropped, by why."}, []string{"result"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_llm_tokens_total", Help: "Tokens that models took."}, []string{"kind"}),
		cost:   prometheus.NewCounter(prometheus.CounterOpts{Name: "kmend_llm_cost_total", Help: "What models cost by the configured prices, in their currency."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kmend_llm_call_seconds",
			Help: "Time of a model's call.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 10)}),
		scores: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kmend_llm_judge_score",
			Help: "Scores of the judge, 0 to 1.", Buckets: prometheus.LinearBuckets(0.1, 0.1, 10)}, []string{"score"}),
	}
	for _, r := range []string{byModel, quiet, overBudget, tooSlow, isLimited, isRefused, isBroken, ungrounded, withheld, tooLate} {
		m.summaries.WithLabelValues(r)
	}
	reg.MustRegister(m.summaries, m.sentences, m.tokens, m.cost, m.seconds, m.scores)
	return m
}
