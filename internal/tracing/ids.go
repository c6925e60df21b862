package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of kmend's own.
const (
	IncidentKey = attribute.Key("kmend.incident.id")
	StageKey    = attribute.Key("kmend.stage")
	OutcomeKey  = attribute.Key("kmend.outcome")
	NodeKey     = attribute.Key("kmend.node")
	VerdictKey  = attribute.Key("kmend.verdict")
	ResultKey   = attribute.Key("kmend.result")
)

// TraceID is the id of an incident's trace: the same in every process and after every
// restart, so nobody has to remember it.
func TraceID(incident string) (id trace.TraceID) {
	sum := sha256.Sum256([]byte("kmend/" + incident))
	copy(id[:], sum[:])
	return id
}

type traceKey struct{}

// InTraceOf is a ctx in which a span without a parent is in the trace of an incident.
func InTraceOf(ctx context.Context, incident string) context.Context {
	return context.WithValue(trace.ContextWithSpan(ctx, nil), traceKey{}, TraceID(incident))
}

// ids makes random ids, but for the traces of incidents.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, ok := ctx.Value(traceKey{}).(trace.TraceID)
	if !ok {
		random(id[:])
	}
	return id, ids{}.NewSpanID(ctx, id)
}

func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	random(id[:])
	return id
}

// random fills b with what is not all zeros, which would be no id.
func random(b []byte) {
	_, _ = rand.Read(b) // it does not fail: crypto/rand
	b[0] |= 1
}

// logHandler writes the trace of an incident beside its id.
type logHandler struct{ slog.Handler }

// Handler adds the attribute trace_id to every line of h that has one named incident.
func Handler(h slog.Handler) slog.Handler { return logHandler{h} }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "incident" || a.Value.Kind() != slog.KindString {
			return true
		}
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", TraceID(a.Value.String()).String()))
		return false
	})
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(a []slog.Attr) slog.Handler { return logHandler{h.Handler.WithAttrs(a)} }
func (h logHandler) WithGroup(name string) slog.Handler   { return logHandler{h.Handler.WithGroup(name)} }
