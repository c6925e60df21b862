package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/internal/tracing"
	"github.com/kmend/kmend/report/llm"
)

// Summarized is an incident with a summary: a model's where it has one, else kmend's
// own, as soon as there is something to say.
func Summarized(inc incident.Incident) incident.Incident {
	if inc.Summary == nil && (inc.Diagnosis != nil || inc.Phase.Closed()) {
		s := llm.BuiltIn(inc)
		inc.Summary = &s
	}
	return inc
}

// summarized reads incidents with their summaries.
type summarized struct {
	*store.Store
	traced bool // say which trace an incident is
}

func (s summarized) Get(ctx context.Context, id string) (incident.Incident, error) {
	inc, err := s.Store.Get(ctx, id)
	if s.traced && err == nil {
		inc.Trace = tracing.TraceID(inc.ID).String()
	}
	return Summarized(inc), err
}

func (s summarized) Latest(ctx context.Context, id string) (incident.Incident, error) {
	inc, err := s.Store.Latest(ctx, id)
	return Summarized(inc), err
}

// summaryShelf and modelPurse translate between the store and who asks models, which do not know
// each other.
type summaryShelf struct{ db *store.Store }

func (s summaryShelf) Reserve(ctx context.Context, id string, phase incident.Phase, digest string, held time.Duration) (llm.Reserved, error) {
	r, err := s.db.ReserveSummary(ctx, id, phase, digest, held)
	return map[store.Reserved]llm.Reserved{store.ReservedHere: llm.Here, store.ReservedDone: llm.Done}[r], err
}

func (s summaryShelf) Keep(ctx context.Context, id string, phase incident.Phase, result string, text *incident.Summary) error {
	return s.db.KeepSummary(ctx, id, phase, result, text)
}

type modelPurse struct{ db *store.Store }

func (p modelPurse) Take(ctx context.Context, now time.Time, tokens int, cost float64, allowed func(llm.Spending) error) (int64, error, error) {
	return p.db.SpendOnModel(ctx, now, tokens, cost, func(s store.ModelSpending) error { return allowed(llm.Spending(s)) })
}

func (p modelPurse) Pay(ctx context.Context, id int64, tokens int, cost float64) error {
	return p.db.SpentOnModel(ctx, id, tokens, cost)
}

// model makes a model of the configured provider.
func (l LLM) model(name string) (llm.Model, error) {
	e := llm.Endpoint{URL: l.URL, KeyFile: l.APIKeyFile, Model: name, Temperature: l.Temperature}
	if l.Provider == "anthropic" {
		return llm.NewAnthropic(e)
	}
	return llm.NewOpenAI(llm.OpenAIOptions{Endpoint: e, MaxTokensAs: l.MaxTokensAs})
}

// llmApp has summaries written.
type llmApp struct {
	config LLM
	log    *slog.Logger
	db     *store.Store
	desk   *llm.Desk
}

func newLLM(c LLM, db *store.Store, reg prometheus.Registerer, log *slog.Logger, change func(*llm.Options)) (*llmApp, error) {
	o := llm.DefaultOptions()
	var err error
	if o.Model, err = c.model(c.Model); err != nil {
		return nil, fmt.Errorf("configuring llm: %w", err)
	}
	if j := c.Judge; j != nil {
		if o.Judge, err = c.model(j.Model); err != nil {
			return nil, fmt.Errorf("configuring llm.judge: %w", err)
		}
		o.MinScore = *j.MinScore
	}
	if p := c.Price; p != nil {
		o.Price = llm.Price(*p)
	}
	o.Redact, o.Timeout, o.MaxTokens, o.Purse, o.Logger, o.Metrics = c.Redact, c.Timeout.D(), c.MaxTokens, modelPurse{db}, log, llm.NewMetrics(reg)
	o.Budget = llm.Budget(c.Budget)
	change(&o)
	w, err := llm.NewWriter(o)
	if err != nil {
		return nil, fmt.Errorf("configuring llm: %w", err)
	}
	do := llm.DefaultDeskOptions()
	do.Writer, do.Incidents, do.Shelf, do.Logger = w, db, summaryShelf{db}, log
	a := &llmApp{config: c, log: log, db: db}
	a.desk, err = llm.NewDesk(do)
	return a, err
}

// run has summaries written until ctx ends. told hears of each that is there.
func (a *llmApp) run(ctx context.Context, told watchers) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		everyMinute(ctx, func() {
			ids, err := a.db.Unsummarized(ctx, time.Now().Add(-lately))
			if err != nil && ctx.Err() == nil {
				a.log.Error("what has no summary is looked for later", "error", err)
			}
			for _, id := range ids {
				a.desk.Changed(id, false)
			}
		})
	}()
	a.desk.Run(ctx, func(id string) { told.Changed(id, false) })
	<-done
}

// hold is how much longer what cannot be edited waits for the model's summary of an
// incident as it is now: until it is known what came of it, at most the model's time
// since the incident came into its phase.
func (a *llmApp) hold(ctx context.Context, inc incident.Incident) (time.Duration, error) {
	if inc.Phase != incident.AwaitingApproval && !inc.Phase.Closed() {
		return 0, nil
	}
	left := time.Until(inc.PhaseSince().Add(a.config.Timeout.D()))
	if left <= 0 {
		return 0, nil
	}
	known, err := a.db.SummaryKnown(ctx, inc.ID, inc.Phase)
	if known {
		left = 0
	}
	return left, err
}
