package llm

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestDialects(t *testing.T) {
	const object = `"additionalProperties":false,"type":"object",`
	for _, c := range []struct{ schema, anthropic, openAI string }{
		{`{` + object + `"properties":{"a":{"type":"string","enum":["x"]}},"required":["a"]}`, "", ""},
		{`{` + object + `"properties":{"a":{"type":"string"}}}`, "", `schema: "a" has to be required`},
		{`{` + object + `"properties":{"a":{"type":"string","maxLength":5}},"required":["a"]}`, `schema.properties.a: "maxLength" is not permitted`, `"maxLength" is not permitted`},
		{`{` + object + `"properties":{"a":{"type":"array","maxItems":5,"items":{"type":"string"}}},"required":["a"]}`, `"maxItems" is not permitted`, ""},
		{`{` + object + `"properties":{"a":{"type":"array","minItems":2,"items":{"type":"string"}}},"required":["a"]}`, `minItems 2`, ""},
		{`{` + object + `"properties":{"a":{"type":"array"}},"required":["a"]}`, `an array without items`, `an array without items`},
		{`{` + object + `"properties":{"a":{"type":"array","items":{"type":"object","properties":{}}}},"required":["a"]}`, `schema.properties.a.items: additionalProperties`, `schema.properties.a.items: additionalProperties`},
		{`{` + object + `"properties":{"a":{"anyOf":[{"type":"string","minLength":1}]}},"required":["a"]}`, `schema.properties.a.of.0: "minLength"`, `schema.properties.a.of.0: "minLength"`},
		{`{` + object + `"properties":{},"required":["a"]}`, `"a" is required and no property`, `"a" is required and no property`},
		{`{` + object + `"properties":{"a":{"allOf":[{"type":"string"}]}},"required":["a"]}`, "", `"allOf" is not permitted`},
		{`{"type":"object"}`, `additionalProperties has to be false`, `additionalProperties has to be false`},
		{`{"type":"array","items":{"type":"string"}}`, `root is of type array; want object`, `root is of type array; want object`},
		{`[]`, `the schema's root`, `the schema's root`},
		{`{` + object + `"properties":{"a":` + strings.Repeat(`{"type":"array","items":`, 10) + `{"type":"string"}` + strings.Repeat(`}`, 10) + `},"required":["a"]}`, "", `more than 10 levels`},
	} {
		for want, d := range map[*string]dialect{&c.anthropic: anthropicDialect, &c.openAI: openAIDialect} {
			if err := d.check(json.RawMessage(c.schema)); *want == "" && err != nil || *want != "" && (err == nil || !strings.Contains(err.Error(), *want)) {
				t.Errorf("%s: %v; want %q", c.schema, err, *want)
			}
		}
	}
}

// TestStrangeRequests: what the provider does not understand is refused and
// remembered; a wrong key or model is refused and no misunderstanding.
func TestStrangeRequests(t *testing.T) {
	const schema = `{"type":"object","properties":{},"additionalProperties":false}`
	const anthropic = `{"model":"stand-in-1","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"u"}]}],"output_config":{"format":{"type":"json_schema","schema":` + schema + `}}}`
	const openAI = `{"model":"stand-in-1","max_completion_tokens":9,"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":` + schema + `}}}`
	for _, c := range []struct {
		start              func(func(Prompt) string) *Server
		body, path, header string
		changes            map[string]string // of the body
		headers            map[string]string
	}{
		{Anthropic, anthropic, "/v1/messages", "X-Api-Key: " + Key, map[string]string{
			`"max_tokens":9`: `"max_tokens":0`, `{"model"`: `{"stream":true,"model"`, `"messages"`: `"message"`, `"role":"user"`: `"role":"assistant"`, `"text":"u"`: `"text":""`,
			`"system"`: `"temperature":1.5,"system"`, `"json_schema"`: `"json"`, `"format"`: `"shape"`, `"additionalProperties":false`: `"additionalProperties":true`,
		}, map[string]string{"Anthropic-Version": "2020-01-01", "Content-Type": "text/plain", "Authorization": "Bearer x", "Traceparent": "00"}},
		{OpenAI, openAI, "/v1/chat/completions", "Authorization: Bearer " + Key, map[string]string{
			`"max_completion_tokens"`: `"max_tokens"`, `{"model"`: `{"store":true,"model"`, `"max_completion_tokens":9`: `"max_completion_tokens":-1`, `"messages"`: `"message"`, `"role":"user"`: `"role":"tool"`,
			`"content":"u"`: `"content":" "`, `"response_format"`: `"temperature":3,"response_format"`, `"strict":true`: `"strict":false`, `"name":"n"`: `"name":"a b"`,
			`"additionalProperties":false`: `"additionalProperties":true`,
		}, map[string]string{"Content-Type": "text/plain", "Traceparent": "00"}},
	} {
		s := c.start(func(Prompt) string { return "{}" })
		defer s.Close()
		send := func(method, path, body, header, value string) int {
			t.Helper()
			r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			name, key, _ := strings.Cut(c.header, ": ")
			r.Header.Set(name, key)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Anthropic-Version", "2023-06-01")
			if header != "" {
				r.Header.Set(header, value)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		problems := 0
		check := func(what string, got, want int) {
			t.Helper()
			if n := len(s.Problems()); got != want || n != problems {
				t.Errorf("%s %s: %d and %d problems; want %d and %d: %v", c.path, what, got, n, want, problems, s.Problems())
			}
			problems = len(s.Problems())
		}
		name, _, _ := strings.Cut(c.header, ":")
		check("as it should be", send(http.MethodPost, c.path, c.body, "", ""), 200)
		check("another key", send(http.MethodPost, c.path, c.body, name, "Bearer x"), 401)
		check("another model", send(http.MethodPost, c.path, strings.Replace(c.body, Model, "other", 1), "", ""), 404)
		for from, to := range c.changes {
			if !strings.Contains(c.body, from) {
				t.Fatalf("nothing to change: %s", from)
			}
			problems++
			check(to, send(http.MethodPost, c.path, strings.Replace(c.body, from, to, 1), "", ""), 400)
		}
		for header, value := range c.headers {
			problems++
			check(header, send(http.MethodPost, c.path, c.body, header, value), 400)
		}
		problems++
		check("GET", send(http.MethodGet, c.path, c.body, "", ""), 404)
		problems++
		check("another path", send(http.MethodPost, "/v1/other", c.body, "", ""), 404)
	}
}
