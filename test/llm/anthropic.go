package llm

import (
	"encoding/json"
	"net/http"
)

// Anthropic starts a stand-in for the Messages API; its URL is the base URL.
func Anthropic(answer func(Prompt) string) *Server {
	return start(api{path: "/v1/messages", requestID: "Request-Id", parse: parseMessages, reply: message,
		key: func(h http.Header) string { return h.Get("X-Api-Key") },
		wrong: func(w wrong) any {
			return map[string]any{"type": "error", "error": map[string]any{"type": w.kind, "message": w.message}, "request_id": "req_0"}
		}}, Key, answer)
}

// messages is a request: https://platform.claude.com/docs/en/api/messages/create
type messages struct {
	Model       string      `json:"model"`
	MaxTokens   int         `json:"max_tokens"`
	Temperature *float64    `json:"temperature"`
	System      []textBlock `json:"system"`
	Messages    []struct {
		Role    string      `json:"role"`
		Content []textBlock `json:"content"`
	} `json:"messages"`
	OutputConfig struct {
		Format struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
}

type textBlock struct {
	Type         string `json:"type"`
	Text         string `json:"text"`
	CacheControl *struct {
		Type string `json:"type"`
	} `json:"cache_control"`
}

func parseMessages(h http.Header, body []byte) (call, *wrong) {
	if v := h.Get("Anthropic-Version"); v != "2023-06-01" {
		return call{}, bad("", "anthropic-version: %q is not a valid version", v)
	}
	if h.Get("Authorization") != "" {
		return call{}, bad("", "two credentials")
	}
	var m messages
	if why := strict(body, &m); why != nil {
		return call{}, why
	}
	c := call{Prompt: Prompt{Schema: m.OutputConfig.Format.Schema}, model: m.Model, maxTokens: m.MaxTokens}
	for _, b := range m.System {
		c.System += b.Text
		if b.CacheControl != nil {
			c.cached = m.Model + c.System
		}
	}
	if len(m.Messages) != 1 || m.Messages[0].Role != "user" {
		return c, bad("messages", "messages: want one of the user")
	}
	for _, b := range m.Messages[0].Content {
		c.User += b.Text
	}
	for _, b := range append(m.System, m.Messages[0].Content...) {
		if b.Type != "text" || b.Text == "" || b.CacheControl != nil && b.CacheControl.Type != "ephemeral" {
			return c, bad("messages", "a block of type %q, %d bytes, cache_control %+v", b.Type, len(b.Text), b.CacheControl)
		}
	}
	if t := m.Temperature; t != nil && (*t < 0 || *t > 1) {
		return c, bad("temperature", "temperature: range: 0..1")
	}
	if m.OutputConfig.Format.Type != "json_schema" {
		return c, bad("output_config", "output_config.format.type: %q", m.OutputConfig.Format.Type)
	}
	if err := anthropicDialect.check(c.Schema); err != nil {
		return c, bad("output_config", "output_config.format: %v", err)
	}
	return c, nil
}

func message(r reply) any {
	content, stop := []any{map[string]any{"type": "text", "text": r.text}}, "end_turn"
	switch {
	case r.refused:
		content, stop = []any{}, "refusal"
	case r.cut:
		stop = "max_tokens"
	}
	return map[string]any{"id": "msg_1", "type": "message", "role": "assistant", "model": Model, "content": content, "stop_reason": stop, "stop_sequence": nil,
		"usage": map[string]any{"input_tokens": r.Input - r.Cached - r.written, "cache_creation_input_tokens": r.written,
			"cache_read_input_tokens": r.Cached, "output_tokens": r.Output}}
}
