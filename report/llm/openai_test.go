package llm

import (
	"errors"
	"strings"
	"testing"

	standin "github.com/kmend/kmend/test/llm"
)

// TestOpenAIStops: an answer counts only where the model ended it.
func TestOpenAIStops(t *testing.T) {
	s := standin.Local(func(standin.Prompt) string { return said })
	defer s.Close()
	m, err := NewOpenAI(OpenAIOptions{Endpoint: Endpoint{URL: s.URL + "/v1", Model: standin.Model}, MaxTokensAs: "max_tokens"})
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"choices":[{"finish_reason":"content_filter","message":{"content":"{}"}}]}`: ErrRefused.Error(),
		`{"choices":[{"finish_reason":"tool_calls","message":{"content":"{}"}}]}`:     "stopped before the end of its answer: tool_calls",
		`{"choices":[{"finish_reason":"two words","message":{"content":"{}"}}]}`:      "for no known reason",
		`{"choices":[]}`: "it gives 0 answers; want one",
		`{"choices":[{"finish_reason":"stop","message":{"content":"{}"}},{"finish_reason":"stop","message":{"content":"{}"}}]}`: "it gives 2 answers",
		`[]`: "reading its answer",
	} {
		s.Break(standin.Fault{Body: body})
		got, err := m.Complete(t.Context(), asked())
		if err == nil || !strings.Contains(err.Error(), want) || got.JSON != nil {
			t.Errorf("%s: %q, %v; want %q", body, got.JSON, err, want)
		}
		if is := errors.Is(err, ErrRefused); is != (want == ErrRefused.Error()) {
			t.Errorf("%s: refused is %v: %v", body, is, err)
		}
	}
}
