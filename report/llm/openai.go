package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// OpenAIURL is where OpenAI's API is.
const OpenAIURL = "https://api.openai.com/v1"

// OpenAIOptions are those of NewOpenAI.
type OpenAIOptions struct {
	Endpoint // without a KeyFile no key is sent
	// MaxTokensAs is the name of the request's field that bounds the answer:
	// "max_completion_tokens" (also where it is empty), or "max_tokens" for the
	// servers that know no other, as most local ones.
	MaxTokensAs string
}

// openAIModel is a model behind an API like OpenAI's chat completions.
type openAIModel struct {
	caller
	limit string
}

// NewOpenAI makes a Model of OpenAI's, or of any server that has the same API.
// Its answers are bound to the prompt's schema by structured outputs.
func NewOpenAI(o OpenAIOptions) (Model, error) {
	c, err := newCaller(o.Endpoint, 2)
	if err != nil {
		return nil, err
	}
	switch o.MaxTokensAs {
	case "":
		o.MaxTokensAs = "max_completion_tokens"
	case "max_completion_tokens", "max_tokens":
	default:
		return nil, fmt.Errorf("maxTokensAs is %q; want max_completion_tokens or max_tokens", o.MaxTokensAs)
	}
	return provider{c, openAIModel{c, o.MaxTokensAs}.ask, "openai"}, nil
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatCompletion is what is read of an answer, good or bad.
type chatCompletion struct {
	Model   string
	Choices []struct {
		FinishReason string `json:"finish_reason"`
		Message      struct{ Content, Refusal string }
	}
	Usage struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Details    struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

// ask calls POST /chat/completions.
func (m openAIModel) ask(ctx context.Context, key string, p Prompt) (Completion, error) {
	resp, err := m.post(ctx, key, p)
	if err != nil {
		return Completion{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Completion{}, err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error struct{ Type, Code, Param any }
		}
		_ = json.Unmarshal(body, &e) // a proxy's page has none of these; the status says enough
		return Completion{}, refusal(resp.StatusCode, fmt.Sprint(e.Error.Type), fmt.Sprint(e.Error.Code), fmt.Sprint(e.Error.Param), resp.Header.Get("X-Request-Id"))
	}
	var answer chatCompletion
	if err := json.Unmarshal(body, &answer); err != nil {
		return Completion{}, fmt.Errorf("reading its answer: %w", err)
	}
	return m.read(answer, p)
}

// post sends the request.
func (m openAIModel) post(ctx context.Context, key string, p Prompt) (*http.Response, error) {
	request := map[string]any{
		"model":    m.Model,
		"messages": []chatMessage{{"system", p.System}, {"user", p.User}},
		m.limit:    p.MaxTokens,
		"response_format": map[string]any{"type": "json_schema",
			"json_schema": map[string]any{"name": p.Name, "strict": true, "schema": p.Schema}},
	}
	if m.Temperature != nil {
		request["temperature"] = *m.Temperature
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(m.URL, "/")+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return m.http.Do(req)
}

// read takes the one answer out of a completion.
func (m openAIModel) read(answer chatCompletion, p Prompt) (Completion, error) {
	u := answer.Usage
	done := Completion{Model: m.name(answer.Model), Usage: newUsage(u.Prompt, u.Details.Cached, u.Completion)}
	if len(answer.Choices) != 1 {
		return done, fmt.Errorf("it gives %d answers; want one", len(answer.Choices))
	}
	c := answer.Choices[0]
	switch {
	case c.Message.Refusal != "", c.FinishReason == "content_filter":
		return done, fmt.Errorf("%w to answer", ErrRefused)
	case c.FinishReason == "length":
		return done, errCut(p.MaxTokens)
	case c.FinishReason != "stop":
		return done, errStopped(c.FinishReason)
	}
	done.JSON = json.RawMessage(c.Message.Content)
	return done, nil
}
