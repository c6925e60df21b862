package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/tracing"
	standin "github.com/kmend/kmend/test/llm"
	"github.com/kmend/kmend/test/otlp"
)

// The whole program, traced: the request of the webhook, to which the incident's trace
// links; the stages; the agent; the model's call with what it took. No secret and no
// text of an alert or of a model is in it, unless its operator wants the model's.
func TestTraced(t *testing.T) {
	for _, capture := range []bool{false, true} {
		t.Run(fmt.Sprint("content ", capture), func(t *testing.T) {
			t.Parallel()
			s := otlp.Start()
			t.Cleanup(s.Close)
			_, l := startModel(t, func() string { return written(t, "title: verdict inconclusive [w1]") })
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "headers"), []byte("X-Token: otlp-secret-1\nX-Scope: kmend\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := runIn(t, dir, fmt.Sprintf("tracing: {endpoint: %s, headersFile: headers, captureContent: %v}\nllm: {provider: openai, model: %s, url: %s, apiKeyFile: %s, temperature: 0.2, maxTokens: 900}\n",
				s.Endpoint(), capture, l.Model, l.URL, l.APIKeyFile))
			if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
				t.Fatalf("webhook: %d %s", status, body)
			}
			inc := r.list(t, 1)[0]
			until(t, "summarized", func() bool {
				_, body := ask(t, "GET", r.url+"/api/v1/incidents/"+inc.ID, "", "")
				var got incident.Incident
				return json.Unmarshal([]byte(body), &got) == nil && got.Summary != nil && got.Summary.By == standin.Model && got.Trace == tracing.TraceID(inc.ID).String()
			})
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			by := map[string]otlp.Span{}
			for _, sp := range s.Spans() {
				by[sp.Name] = sp
			}
			whole, hook, chat := by["incident"], by["POST /webhook/alertmanager"], by["chat "+standin.Model]
			if !slices.Contains(whole.Links, hook.Trace) || hook.Trace == "" || hook.Attributes["http.response.status_code"] != int64(204) {
				t.Errorf("%+v does not link to %+v", whole, hook)
			}
			trace := tracing.TraceID(inc.ID).String()
			for child, parent := range map[string]string{"diagnose": "incident", "close": "incident", "report": "incident", "measure": "diagnose", "chat " + standin.Model: "summarize"} {
				if c := by[child]; c.Trace != trace || c.Parent == "" || c.Parent != by[parent].ID {
					t.Errorf("%s is %+v; want a child of %s %+v", child, c, parent, by[parent])
				}
			}
			for name, want := range map[string]any{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": standin.Model, "gen_ai.response.model": standin.Model,
				"gen_ai.request.max_tokens": int64(900), "gen_ai.request.temperature": .2, "gen_ai.tool.name": "summary", "kmend.llm.cache_hit": false} {
				if got := chat.Attributes[name]; got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			for _, name := range []string{"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} {
				if n, _ := chat.Attributes[name].(int64); n < 1 {
					t.Errorf("%s is %v", name, chat.Attributes[name])
				}
			}
			bodies, _ := s.Requests()
			all := string(slices.Concat(bodies...))
			for _, word := range []string{standin.Key, "otlp-secret-1"} {
				if strings.Contains(all, word) {
					t.Errorf("a span holds the secret %q", word)
				}
			}
			for _, word := range []string{"CheckoutSlow", "verdict inconclusive"} {
				if strings.Contains(all, word) != capture {
					t.Errorf("a span says %q: %v, want %v", word, !capture, capture)
				}
			}
		})
	}
}

// A receiver that hangs holds up neither an incident nor the stop.
func TestTracingHangs(t *testing.T) {
	s := otlp.Start()
	t.Cleanup(s.Close)
	s.Hang()
	r := run(t, "tracing: {endpoint: "+s.Endpoint()+"}\n")
	for range 3 {
		if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
			t.Fatalf("webhook: %d %s", status, body)
		}
	}
	r.list(t, 1)
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// The environment's receiver is the one where the configuration names none.
func TestTracingByEnvironment(t *testing.T) {
	s := otlp.Start()
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	r := run(t, "")
	if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook: %d %s", status, body)
	}
	r.list(t, 1)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if len(s.Spans()) == 0 || len(s.Problems()) > 0 {
		t.Errorf("%d spans, %v", len(s.Spans()), s.Problems())
	}
}
