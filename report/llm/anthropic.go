package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/anthropics/anthropic-sdk-go/packages/param"
)

// AnthropicURL is where Anthropic's API is.
const AnthropicURL = "https://api.anthropic.com"

// anthropicModel is a model behind Anthropic's Messages API.
type anthropicModel struct {
	caller
	messages anthropic.MessageService
}

// NewAnthropic makes a Model of Anthropic's. Its answers are bound to the prompt's
// schema by structured outputs, and it remembers the system text (prompt caching).
// The program's environment counts for nothing, and each call is one request.
func NewAnthropic(e Endpoint) (Model, error) {
	c, err := newCaller(e, 1)
	if err != nil {
		return nil, err
	}
	if c.file == nil {
		return nil, errors.New("keyFile is empty; name a file with an API key of Anthropic's")
	}
	client := anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithoutOpenTelemetry(),
		option.WithBaseURL(e.URL), option.WithHTTPClient(c.http), option.WithMaxRetries(0))
	return provider{c, anthropicModel{c, client.Messages}.ask, "anthropic"}, nil
}

// ask calls POST /v1/messages.
func (m anthropicModel) ask(ctx context.Context, key string, p Prompt) (Completion, error) {
	schema, err := ordered(p.Schema)
	if err != nil {
		return Completion{}, err
	}
	params := anthropic.MessageNewParams{
		Model:        m.Model,
		MaxTokens:    int64(p.MaxTokens),
		System:       []anthropic.TextBlockParam{{Text: p.System, CacheControl: anthropic.NewCacheControlEphemeralParam()}},
		Messages:     []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(p.User))},
		OutputConfig: anthropic.OutputConfigParam{Format: anthropic.JSONOutputFormatParam{Schema: schema}},
	}
	if t := m.Temperature; t != nil {
		params.Temperature = param.NewOpt(*t)
	}
	msg, err := m.messages.New(ctx, params, option.WithAPIKey(key))
	if e, ok := errors.AsType[*anthropic.Error](err); ok {
		return Completion{}, refusal(e.StatusCode, string(e.Type()), e.RequestID) // not its text: that is the whole body
	}
	if err != nil {
		return Completion{}, err
	}
	u := msg.Usage
	done := Completion{Model: m.name(msg.Model),
		Usage: newUsage(u.InputTokens+u.CacheCreationInputTokens+u.CacheReadInputTokens, u.CacheReadInputTokens, u.OutputTokens)}
	switch msg.StopReason {
	case anthropic.StopReasonEndTurn:
	case anthropic.StopReasonRefusal:
		return done, fmt.Errorf("%w to answer", ErrRefused)
	case anthropic.StopReasonMaxTokens:
		return done, errCut(p.MaxTokens)
	default:
		return done, errStopped(string(msg.StopReason))
	}
	var text strings.Builder
	for _, block := range msg.Content { // others are what it thought
		if block.Type == "text" {
			text.WriteString(block.Text)
		}
	}
	done.JSON = json.RawMessage(text.String())
	return done, nil
}

// ordered is a schema for the SDK, which takes a map. What is inside stays as it
// is written: a model answers in the order of the properties.
func ordered(schema json.RawMessage) (map[string]any, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(schema, &keys); err != nil {
		return nil, fmt.Errorf("the schema of the answer is no JSON object: %w", err)
	}
	m := make(map[string]any, len(keys))
	for k, v := range keys {
		m[k] = v
	}
	return m, nil
}
