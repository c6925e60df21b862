package llm

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// OpenAI starts a stand-in for chat completions; its URL and "/v1" are the base URL.
func OpenAI(answer func(Prompt) string) *Server {
	return start(chat("max_completion_tokens"), Key, answer)
}

// Local starts a stand-in for a server on one's own machine, which asks for no
// key and knows max_tokens only.
func Local(answer func(Prompt) string) *Server {
	return start(chat("max_tokens"), "", answer)
}

func chat(limit string) api {
	return api{path: "/v1/chat/completions", requestID: "X-Request-Id", reply: completion,
		key:   bearer,
		parse: func(_ http.Header, body []byte) (call, *wrong) { return parseChat(body, limit) },
		wrong: func(w wrong) any {
			return map[string]any{"error": map[string]any{"message": w.message, "type": w.kind, "param": w.param, "code": w.code}}
		}}
}

func bearer(h http.Header) string {
	a := h.Get("Authorization")
	if token, ok := strings.CutPrefix(a, "Bearer "); ok || a == "" {
		return token
	}
	return "(" + a + ")"
}

// chatRequest: https://platform.openai.com/docs/api-reference/chat/create
type chatRequest struct {
	Model               string   `json:"model"`
	Temperature         *float64 `json:"temperature"`
	MaxTokens           *int     `json:"max_tokens"`
	MaxCompletionTokens *int     `json:"max_completion_tokens"`
	Messages            []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
	ResponseFormat struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Name   string          `json:"name"`
			Strict bool            `json:"strict"`
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

var formatName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func parseChat(body []byte, limit string) (call, *wrong) {
	var r chatRequest
	if why := strict(body, &r); why != nil {
		return call{}, why
	}
	f := r.ResponseFormat
	c := call{Prompt: Prompt{Schema: f.JSONSchema.Schema}, model: r.Model}
	given, other := r.MaxCompletionTokens, r.MaxTokens
	if limit == "max_tokens" {
		given, other = other, given
	}
	if given == nil || other != nil {
		return c, bad(limit, "Unsupported parameter. Use '%s' instead.", limit)
	}
	c.maxTokens = *given
	if len(r.Messages) != 2 || r.Messages[0].Role != "system" || r.Messages[1].Role != "user" {
		return c, bad("messages", "messages: want one of the system and one of the user")
	}
	c.System, c.User = r.Messages[0].Content, r.Messages[1].Content
	c.cached = r.Model + c.System // nobody has to ask for it
	if t := r.Temperature; t != nil && (*t < 0 || *t > 2) {
		return c, bad("temperature", "temperature: %v is not from 0 to 2", *t)
	}
	if f.Type != "json_schema" || !f.JSONSchema.Strict || !formatName.MatchString(f.JSONSchema.Name) {
		return c, bad("response_format", "response_format %q, name %q, strict %v", f.Type, f.JSONSchema.Name, f.JSONSchema.Strict)
	}
	if err := openAIDialect.check(c.Schema); err != nil {
		return c, bad("response_format", "Invalid schema for response_format: %v", err)
	}
	return c, nil
}

func completion(r reply) any {
	m, finish := map[string]any{"role": "assistant", "content": r.text, "refusal": nil}, "stop"
	switch {
	case r.refused:
		m["content"], m["refusal"] = nil, "I'm sorry, I can't assist with that."
	case r.cut:
		finish = "length"
	}
	return map[string]any{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": Model,
		"choices": []any{map[string]any{"index": 0, "message": m, "logprobs": nil, "finish_reason": finish}},
		"usage": map[string]any{"prompt_tokens": r.Input, "completion_tokens": r.Output, "total_tokens": r.Input + r.Output,
			"prompt_tokens_details": map[string]any{"cached_tokens": r.Cached}}}
}
