package respond

import (
	"context"
	"sync"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kmend/kmend/internal/tracing"
)

const maxOrigins = 10_000

// origins are the spans of the deliveries that opened incidents, until their
// workflows begin.
type origins struct {
	mu sync.Mutex
	by map[string]trace.SpanContext
}

func (o *origins) put(id string, from trace.SpanContext) {
	if !from.IsSampled() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.by) == maxOrigins {
		return // others run them
	}
	if o.by == nil {
		o.by = map[string]trace.SpanContext{}
	}
	o.by[id] = from
}

func (o *origins) take(id string) (links []trace.Link) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if from, there := o.by[id]; there {
		links = append(links, trace.Link{SpanContext: from})
	}
	delete(o.by, id)
	return links
}

type spanKey struct{}

// traced begins the span of one process' work on an incident: the stages that it runs
// are its children. After a crash there is another one, in the same trace.
func (r *Responder) traced(wf dbos.Context, id string) (dbos.Context, trace.Span) {
	_, span := r.Tracer.Start(tracing.InTraceOf(context.WithoutCancel(wf), id), "incident",
		trace.WithAttributes(tracing.IncidentKey.String(id)), trace.WithLinks(r.origins.take(id)...))
	return dbos.WithValue(wf, spanKey{}, span), span
}

// tracedStage runs a stage in a span of its own. Why it ended as it did is not said:
// that may quote an alert.
func (r *Responder) tracedStage(ctx context.Context, id, name string, run func(context.Context) (End, error)) (End, error) {
	if whole, ok := ctx.Value(spanKey{}).(trace.Span); ok {
		ctx = trace.ContextWithSpan(ctx, whole)
	}
	ctx, span := r.Tracer.Start(ctx, name, trace.WithAttributes(tracing.IncidentKey.String(id), tracing.StageKey.String(name)))
	defer span.End()
	e, err := run(ctx)
	switch {
	case err != nil:
		span.SetStatus(codes.Error, "the stage was cut short")
	case e.Outcome != "":
		span.SetAttributes(tracing.OutcomeKey.String(string(e.Outcome)))
	}
	return e, err
}
