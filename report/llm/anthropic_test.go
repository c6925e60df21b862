package llm

import (
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	standin "github.com/kmend/kmend/test/llm"
)

// TestAnthropicIgnoresItsSurroundings: neither the environment nor a trace that is
// on goes to the provider, which the stand-in would call a problem.
func TestAnthropicIgnoresItsSurroundings(t *testing.T) {
	for name, value := range map[string]string{
		"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "sk-of-somebody-else", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
		"ANTHROPIC_OPEN_TELEMETRY": "true", "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
	} {
		t.Setenv(name, value)
	}
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTextMapPropagator(before)
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled}))

	s := standin.Anthropic(func(standin.Prompt) string { return said })
	defer s.Close()
	m, err := NewAnthropic(Endpoint{URL: s.URL, KeyFile: keyFile(t, standin.Key), Model: standin.Model})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Complete(ctx, asked()); err != nil || len(s.Problems()) > 0 {
		t.Errorf("%v %v", err, s.Problems())
	}
}

// TestAnthropicThinks: what a model thought is no part of its answer.
func TestAnthropicThinks(t *testing.T) {
	s := standin.Anthropic(func(standin.Prompt) string { return said })
	defer s.Close()
	m, err := NewAnthropic(Endpoint{URL: s.URL, KeyFile: keyFile(t, standin.Key), Model: standin.Model})
	if err != nil {
		t.Fatal(err)
	}
	s.Break(standin.Fault{Body: `{"type":"message","model":"m","stop_reason":"end_turn","usage":{},
		"content":[{"type":"thinking","thinking":"hm","text":"no","signature":"s"},{"type":"text","text":"{\"a\""},{"type":"text","text":":1}"}]}`})
	got, err := m.Complete(t.Context(), asked())
	if err != nil || string(got.JSON) != `{"a":1}` {
		t.Errorf("%q, %v", got.JSON, err)
	}
	s.Break(standin.Fault{Body: `{"type":"message","model":"m","stop_reason":"pause_turn","usage":{},"content":[{"type":"text","text":"{}"}]}`})
	if _, err := m.Complete(t.Context(), asked()); err == nil || err.Error() != "asking model stand-in-1: the model stopped before the end of its answer: pause_turn" {
		t.Errorf("%v; want that it stopped", err)
	}
}
