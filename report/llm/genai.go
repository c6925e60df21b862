package llm

import (
	"context"
	"encoding/json"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kmend/kmend/internal/tracing"
)

// The names of the GenAI semantic conventions that kmend uses. They are not stable,
// so they are here and nowhere else:
// https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
const (
	genOperation    = attribute.Key("gen_ai.operation.name")
	genProvider     = attribute.Key("gen_ai.provider.name")
	genModel        = attribute.Key("gen_ai.request.model")
	genMaxTokens    = attribute.Key("gen_ai.request.max_tokens")
	genTemperature  = attribute.Key("gen_ai.request.temperature")
	genOutputType   = attribute.Key("gen_ai.output.type")
	genTool         = attribute.Key("gen_ai.tool.name") // of the answer's schema: summary or verdict
	genAnsweredBy   = attribute.Key("gen_ai.response.model")
	genInput        = attribute.Key("gen_ai.usage.input_tokens")
	genCached       = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	genOutput       = attribute.Key("gen_ai.usage.output_tokens")
	genSystemText   = attribute.Key("gen_ai.system_instructions")
	genInputText    = attribute.Key("gen_ai.input.messages")
	genOutputText   = attribute.Key("gen_ai.output.messages")
	cacheHit        = attribute.Key("kmend.llm.cache_hit") // the provider had read a part of it before
	errorType       = attribute.Key("error.type")
	operationChat   = "chat"
	outputTypeJSON  = "json"
	maxTracedPrompt = 8 << 10
)

// Named is a Model that says what it is, for the spans of its calls.
type Named interface {
	Names() (provider, model string, temperature *float64)
}

// traced calls a model in a span of its own. What was asked and answered is in it only
// where CaptureContent says so.
func (w *Writer) traced(ctx context.Context, m Model, p Prompt, call func(context.Context) (Completion, string, error)) (Completion, string, error) {
	attrs := []attribute.KeyValue{genOperation.String(operationChat), genMaxTokens.Int(p.MaxTokens), genOutputType.String(outputTypeJSON), genTool.String(p.Name)}
	name := operationChat
	if n, ok := m.(Named); ok {
		provider, model, temperature := n.Names()
		attrs, name = append(attrs, genProvider.String(provider), genModel.String(model)), name+" "+model
		if temperature != nil {
			attrs = append(attrs, genTemperature.Float64(*temperature))
		}
	}
	ctx, span := w.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	defer span.End()
	c, result, err := call(ctx)
	if c.Usage != (Usage{}) {
		span.SetAttributes(genInput.Int(c.Usage.Input), genCached.Int(c.Usage.Cached), genOutput.Int(c.Usage.Output), cacheHit.Bool(c.Usage.Cached > 0))
	}
	if c.Model != "" {
		span.SetAttributes(genAnsweredBy.String(c.Model))
	}
	if err != nil {
		span.SetAttributes(errorType.String(result))
		span.SetStatus(codes.Error, result)
	}
	if w.CaptureContent && span.IsRecording() {
		span.SetAttributes(genSystemText.String(cut(p.System, maxTracedPrompt)), genInputText.String(message("user", p.User)))
		if len(c.JSON) > 0 {
			span.SetAttributes(genOutputText.String(message("assistant", string(c.JSON))))
		}
	}
	return c, result, err
}

// message is one message in the form of the conventions.
func message(role, text string) string {
	type part struct {
		Type    string `json:"type"`
		Content string `json:"content"`
	}
	b, err := json.Marshal([]any{map[string]any{"role": role, "parts": []part{{"text", cut(text, maxTracedPrompt)}}}})
	if err != nil {
		return "" // strings only
	}
	return string(b)
}

// summarizing begins the span of one summary, in the trace of its incident.
func (w *Writer) summarizing(ctx context.Context, id string) (context.Context, func(result string)) {
	ctx, span := w.Tracer.Start(tracing.InTraceOf(ctx, id), "summarize", trace.WithAttributes(tracing.IncidentKey.String(id), tracing.StageKey.String("summarize")))
	return ctx, func(result string) {
		span.SetAttributes(tracing.ResultKey.String(result))
		span.End()
	}
}
