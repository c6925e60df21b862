package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/redact"
)

// Options of a Writer. Start from DefaultOptions.
type Options struct {
	Model   Model    // nil: every summary is kmend's own
	Judge   Model    // nil: nobody judges
	Redact  []string // patterns of what the model does not see, beside those that kmend knows
	Timeout time.Duration
	Budget  Budget
	Price   Price
	Purse   Purse
	// MaxTokens bounds a summary; a model that thinks first needs more.
	MaxTokens int
	// MinScore is the least of each score of the judge.
	MinScore float64
	Logger   *slog.Logger
	Tracer   trace.Tracer
	// CaptureContent puts what is asked and answered into the spans.
	CaptureContent bool
	Metrics        *Metrics
}

// DefaultOptions is everything but the model.
func DefaultOptions() Options {
	return Options{Timeout: 20 * time.Second, MaxTokens: 1500, Budget: Budget{Calls: 60, Tokens: 500_000}, MinScore: 0.7, Logger: slog.New(slog.DiscardHandler),
		Tracer: noop.NewTracerProvider().Tracer("")}
}

func (o Options) validate() error {
	switch {
	case o.Timeout <= 0:
		return fmt.Errorf("option Timeout is %s and must be more than 0", o.Timeout)
	case o.Budget.Calls < 0 || o.Budget.Tokens < 0 || o.Budget.Cost < 0 || o.Price.Input < 0 || o.Price.Cached < 0 || o.Price.Output < 0:
		return fmt.Errorf("options Budget %+v and Price %+v must be 0 or more", o.Budget, o.Price)
	case o.MaxTokens < 100 || o.MaxTokens > 100_000:
		return fmt.Errorf("option MaxTokens is %d and must be from 100 to 100000", o.MaxTokens)
	case o.Model != nil && o.Purse == nil:
		return errors.New("option Purse must be set: without it no budget holds")
	case o.MinScore < 0 || o.MinScore > 1:
		return fmt.Errorf("option MinScore is %g and must be from 0 to 1", o.MinScore)
	case o.Logger == nil || o.Metrics == nil || o.Tracer == nil:
		return errors.New("options Logger, Metrics and Tracer must be set")
	}
	return nil
}

// Writer writes summaries: a model's where that is allowed, answers in time and says
// what the facts support, else kmend's own. Its methods may be called concurrently.
type Writer struct {
	Options
	redactor Redactor

	mu   sync.Mutex
	rest time.Time // until when nobody is asked: the provider takes no more
}

const (
	restFor     = time.Minute
	bytesPerTok = 3   // fewer than any text has, so that no call takes more than was set aside
	enoughKept  = 0.5 // of a model's sentences
)

// NewWriter makes a Writer.
func NewWriter(o Options) (*Writer, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("llm writer: %w", err)
	}
	r, err := redact.New(o.Redact)
	if err != nil {
		return nil, fmt.Errorf("llm writer: option Redact: %w", err)
	}
	return &Writer{Options: o, redactor: r}, nil
}

// needed reports whether an incident needs a model's summary as it is now: when a
// person is asked, and when it is over; not where there is nothing to tell, and not
// for each part of a storm.
func needed(inc incident.Incident) bool {
	switch {
	case inc.Diagnosis == nil || inc.Quiet() || inc.Test:
		return false
	case inc.Outcome == incident.Superseded || inc.Outcome == incident.NoTarget:
		return false
	}
	return inc.Phase == incident.AwaitingApproval || inc.Phase.Closed()
}

// Write summarizes an incident as it is now. It always has an answer; a model's has
// its name in By. result says in a word why it is whose it is.
func (w *Writer) Write(ctx context.Context, inc incident.Incident) (s incident.Summary, result string) {
	if w.Model == nil {
		return BuiltIn(inc), quiet
	}
	in, end := w.summarizing(ctx, inc.ID)
	s, result, err := w.write(in, inc)
	end(result)
	w.Metrics.summaries.WithLabelValues(result).Inc()
	if err != nil && ctx.Err() == nil {
		level := slog.LevelWarn
		if result == overBudget || result == isLimited { // a storm says so a thousand times; the metrics count them
			level = slog.LevelDebug
		}
		w.Logger.Log(ctx, level, "the summary is kmend's own", "incident", inc.ID, "result", result, "error", err)
	}
	if result != byModel {
		return BuiltIn(inc), result
	}
	return s, result
}

// Digest names what a model sees of an incident: incidents with the same one look the
// same to it.
func (w *Writer) Digest(inc incident.Incident) (string, error) {
	p, err := newPacket(inc, w.redactor)
	return p.digest(), err
}

func (w *Writer) write(ctx context.Context, inc incident.Incident) (s incident.Summary, result string, err error) {
	if !needed(inc) {
		return s, quiet, nil
	}
	p, err := newPacket(inc, w.redactor)
	if err != nil {
		return s, isBroken, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.Timeout) // of all of it: somebody waits
	defer cancel()
	c, result, err := w.ask(ctx, w.Model, Prompt{System: instructions, User: p.fenced(), Name: "summary", Schema: summarySchema, MaxTokens: w.MaxTokens})
	if err != nil {
		return s, result, err
	}
	var said incident.Summary
	if err := answered(c, &said); err != nil {
		return s, isBroken, err
	}
	kept, dropped := newChecker(p.facts).check(said)
	for _, d := range dropped {
		w.Metrics.sentences.WithLabelValues(d.Reason).Inc()
	}
	w.Metrics.sentences.WithLabelValues("kept").Add(float64(kept.Len()))
	if why := tooLittle(inc, said, kept); why != "" {
		return s, ungrounded, errors.New(why)
	}
	if result, err := w.judged(ctx, p, kept); err != nil {
		return s, result, err
	}
	kept.By = c.Model
	return kept, byModel, nil
}

// tooLittle says why what is left of a summary is none.
func tooLittle(inc incident.Incident, said, kept incident.Summary) string {
	switch {
	case len(kept.Title) == 0:
		return "its title is not grounded"
	case inc.Diagnosis.Verdict == incident.Confirmed && len(kept.RootCause) == 0:
		return "nothing about the confirmed cause is grounded"
	case float64(kept.Len()) < enoughKept*float64(said.Len()):
		return fmt.Sprintf("%d of %d sentences are grounded", kept.Len(), said.Len())
	}
	return ""
}

// judged asks the judge, who may withhold what is checked, and add nothing.
func (w *Writer) judged(ctx context.Context, p packet, kept incident.Summary) (result string, err error) {
	if w.Judge == nil {
		return "", nil
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return isBroken, err
	}
	c, result, err := w.ask(ctx, w.Judge, Prompt{System: judging, User: p.fenced() + string(text) + "\n", Name: "verdict", Schema: judgementSchema, MaxTokens: judgementTokens})
	if err != nil {
		return result, fmt.Errorf("the judge: %w", err)
	}
	var s scores
	if err := answered(c, &s); err != nil {
		return isBroken, fmt.Errorf("the judge: %w", err)
	}
	for name, v := range s.each() {
		w.Metrics.scores.WithLabelValues(name).Observe(min(max(v, 0), 1))
	}
	if !(s.lowest() >= w.MinScore) {
		return withheld, fmt.Errorf("the judge gives %g for groundedness, %g for relevance, %g for completeness; %g is wanted", s.Groundedness, s.Relevance, s.Completeness, w.MinScore)
	}
	return "", nil
}

// ask calls a model within the budget.
func (w *Writer) ask(ctx context.Context, m Model, p Prompt) (c Completion, result string, err error) {
	if until := w.resting(); time.Now().Before(until) {
		return c, isLimited, fmt.Errorf("%w: nobody is asked until %s", ErrLimited, until.UTC().Format(time.RFC3339))
	}
	most := Usage{Input: (len(p.System)+len(p.User)+len(p.Schema))/bytesPerTok + 1, Output: p.MaxTokens}
	set, refused, err := w.Purse.Take(ctx, time.Now(), most.Input+most.Output, w.Price.of(most), w.Budget.allow)
	if refused != nil {
		return c, overBudget, refused
	}
	if err != nil {
		return c, isBroken, err // who cannot count must not spend
	}
	return w.traced(ctx, m, p, func(ctx context.Context) (Completion, string, error) { return w.call(ctx, m, p, set) })
}

// call calls a model and pays for it.
func (w *Writer) call(ctx context.Context, m Model, p Prompt, set int64) (c Completion, result string, err error) {
	began := time.Now()
	c, err = m.Complete(ctx, p)
	w.Metrics.seconds.Observe(time.Since(began).Seconds())
	if c.Usage != (Usage{}) { // else nobody said: what was set aside counts
		if err := w.Purse.Pay(context.WithoutCancel(ctx), set, c.Usage.Input+c.Usage.Output, w.Price.of(c.Usage)); err != nil {
			w.Logger.Warn("a model's call counts for the most that it may take", "error", err)
		}
		w.Metrics.tokens.WithLabelValues("input").Add(float64(c.Usage.Input))
		w.Metrics.tokens.WithLabelValues("cached").Add(float64(c.Usage.Cached))
		w.Metrics.tokens.WithLabelValues("output").Add(float64(c.Usage.Output))
		w.Metrics.cost.Add(w.Price.of(c.Usage))
	}
	switch {
	case err == nil:
		return c, "", nil
	case errors.Is(err, ErrLimited):
		w.pause(time.Now().Add(restFor))
		return c, isLimited, err
	case errors.Is(err, ErrRefused):
		return c, isRefused, err
	case ctx.Err() != nil:
		return c, tooSlow, err
	}
	return c, isBroken, err
}

func (w *Writer) resting() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rest
}

func (w *Writer) pause(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = until
}
