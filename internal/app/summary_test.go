package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report/llm"
	standin "github.com/kmend/kmend/test/llm"
)

// truths are what an honest model says about the incident of the doubles, lies what
// none may: each way to hallucinate once.
var truths = []string{
	`title: The kernel confirmed cpu.throttled [f1]`,
	`impact: The alert Slow is firing. [a1]`,
	`rootCause: The root cause is cpu.throttled, with a share of 43% of the active time. [f1]`,
	`rootCause: The evidence shows that throttled was 1299 ms. [f1, e1]`,
}

var lies = []string{
	`rootCause: The throttled was 1780 ms. [f1, e1]`,
	`rootCause: The throttled was 1299 minutes. [f1, e1]`,
	`impact: Slow is firing for checkout-7d9f-x2x1. [a1, g1]`,
	`rootCause: A memory leak in the last deployment is the root cause. [f1]`,
	`rootCause: The root cause is disk.latency. [f1, w1]`,
	`rootCause: The root cause is cpu.throttled, surely. [f1, e9999]`,
	`done: kmend restarted the pod. [o1]`,
	`rootCause: The root cause is not cpu.throttled. [f1]`,
	`done: The share of cpu.throttled went from 1% to 43%. [v1]`,
	`followUps: Look at https://status.example.com for Slow. [a1]`,
	`impact: <!channel> Slow is firing. [a1]`,
	`followUps: Drain node n1 at once. [g1]`,
}

// written is a model's answer of the sentences.
func written(t *testing.T, sentences ...string) string {
	t.Helper()
	var s incident.Summary
	for _, line := range sentences {
		section, rest, _ := strings.Cut(line, ": ")
		text, ids, _ := strings.Cut(strings.TrimSuffix(rest, "]"), " [")
		for _, part := range s.Sections() {
			if part.Name == section {
				*part.Sentences = append(*part.Sentences, incident.Sentence{Text: text, Evidence: strings.Split(ids, ", ")})
			}
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// startModel starts a stand-in for a model, which answers with the text.
func startModel(t *testing.T, answer func() string) (*standin.Server, *LLM) {
	t.Helper()
	s := standin.OpenAI(func(standin.Prompt) string { return answer() })
	t.Cleanup(func() {
		s.Close()
		for _, p := range s.Problems() {
			t.Error(p)
		}
	})
	key := filepath.Join(t.TempDir(), "model.key")
	if err := os.WriteFile(key, []byte(standin.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &LLM{Provider: "openai", Model: standin.Model, URL: s.URL + "/v1", APIKeyFile: key}
	c.resolve()
	return s, c
}

const (
	byKmend = "*Summary* by kmend\n"
	byModel = "*Summary* by model `" + standin.Model + "`, checked by kmend"
)

// A message goes out with kmend's own summary while the model still writes, and is
// edited when the model's is there, at the question and at the end: two calls.
// Nothing that the facts do not support is ever posted, and a restart calls nobody.
func TestSummaryInSlack(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	text := written(t, append(append([]string{}, truths[:2]...), append(lies[:2:2], truths[2:]...)...)...)
	s, c := startModel(t, func() string { <-gate; return text })
	b := newBedWith(t, users(1, "U1"), time.Minute, c)
	b.notify(incident.Firing)
	m := b.asked()
	b.says("*Summary* by kmend")
	b.until("the model is asked", func() bool { return len(s.Requests()) == 1 })
	close(gate)
	b.says(byModel)
	honest := func(text string) {
		t.Helper()
		for _, line := range truths {
			_, want, _ := strings.Cut(line, ": ")
			if !strings.Contains(text, want) {
				t.Errorf("it does not say %q:\n%s", want, text)
			}
		}
		for _, line := range lies {
			_, lie, _ := strings.Cut(line, ": ")
			if lie, _, _ = strings.Cut(lie, " ["); strings.Contains(text, lie) {
				t.Errorf("it says %q:\n%s", lie, text)
			}
		}
	}
	honest(b.says("Approval wanted"))
	b.click(m, "approve", "U1")
	b.says("Closed at")
	honest(b.says(byModel))
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d calls, want one for the question and one for the end", n)
	}
	b.stop()
	b.start(time.Minute)
	list, err := b.db.List(t.Context(), store.Filter{})
	if err != nil || len(list) != 1 || list[0].Summary == nil || list[0].Summary.By != standin.Model {
		t.Fatalf("after a restart: %d incidents, %v", len(list), err)
	}
	b.app.poster.Changed(list[0].ID, false)
	b.notify(incident.Resolved)
	honest(b.says(byModel))
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d calls after a restart, want 2", n)
	}
}

// Each lie, wired as it is for users: alone among truths, none is posted.
func TestNoLieIsPosted(t *testing.T) {
	t.Parallel()
	for _, line := range lies {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			_, c := startModel(t, func() string { return written(t, append([]string{line}, truths...)...) })
			b := newBedWith(t, users(1, "U1"), time.Minute, c)
			b.notify(incident.Firing)
			_, lie, _ := strings.Cut(line, ": ")
			lie, _, _ = strings.Cut(lie, " [")
			if text := b.says(byModel); strings.Contains(text, lie) {
				t.Errorf("posted:\n%s", text)
			}
		})
	}
}

// Whatever is wrong with a model, kmend's own summary stays and nobody is asked again
// about the same.
func TestModelIsNoHelp(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]standin.Fault{"broken": {Status: 500}, "limited": {Status: 429}, "refused": {Status: 401}, "slow": {After: time.Minute},
		"ungrounded": {}, "redirected": {Redirect: "https://elsewhere.example.com/"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := startModel(t, func() string { return written(t, lies...) })
			s.Break(f)
			c.Timeout = incident.Duration(500 * time.Millisecond)
			b := newBedWith(t, users(1, "U1"), time.Minute, c)
			b.notify(incident.Firing)
			b.says("*Summary* by kmend")
			var id string
			b.until("it is known that there is none", func() bool {
				list, err := b.db.List(t.Context(), store.Filter{})
				if err != nil || len(list) == 0 {
					return false
				}
				id = list[0].ID
				known, err := b.db.SummaryKnown(t.Context(), id, incident.AwaitingApproval)
				return err == nil && known
			})
			b.stop()
			b.start(time.Minute)
			b.asked()
			if text := b.says("*Summary* by kmend"); strings.Contains(text, "model") {
				t.Errorf("a model's summary:\n%s", text)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

// kmend ends while the model writes: it is asked once more after the start, not again
// and again where that ends, too.
func TestKmendEndsWhileAModelWrites(t *testing.T) {
	t.Parallel()
	s, c := startModel(t, func() string { return written(t, truths...) })
	s.Break(standin.Fault{After: time.Minute})
	b := newBedWith(t, users(1, "U1"), time.Minute, c)
	b.notify(incident.Firing)
	for n := 1; n <= 2; n++ {
		b.until(fmt.Sprint("call ", n), func() bool { return len(s.Requests()) == n })
		b.stop()
		b.start(time.Minute)
	}
	b.until("it is given up", func() bool {
		list, err := b.db.List(t.Context(), store.Filter{})
		if err != nil || len(list) == 0 {
			return false
		}
		known, err := b.db.SummaryKnown(t.Context(), list[0].ID, incident.AwaitingApproval)
		return err == nil && known
	})
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// A thousand alerts, the whole program: the calls are bounded by what is told of each
// for itself, and by the budget, which holds over a restart.
func TestStormOfSummaries(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s, c := startModel(t, func() string { calls.Add(1); return "{}" })
	dir := t.TempDir()
	config := fmt.Sprintf("llm: {provider: openai, model: %s, url: %s, apiKeyFile: %s, budget: {calls: 4}}\n", c.Model, c.URL, c.APIKeyFile)
	r := runIn(t, dir, config)
	var alerts []string
	for n := range 1000 {
		alerts = append(alerts, fmt.Sprintf(`{"status":"firing","labels":{"alertname":"Slow","cgroup":"/nothing/%d"},"annotations":{},"startsAt":"2026-11-21T12:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"%016x"}`, n, n))
	}
	body := `{"version":"4","groupKey":"{}:{}","status":"firing","receiver":"kmend","groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am","alerts":[` + strings.Join(alerts, ",") + `]}`
	if status, answer := ask(t, "POST", r.url+"/webhook/alertmanager", "", body); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		_, open := ask(t, "GET", r.url+"/api/v1/incidents?open=true&limit=1", "", "")
		_, metrics := ask(t, "GET", r.url+"/metrics", "", "")
		if strings.Contains(open, `"items": []`) && strings.Contains(metrics, `kmend_llm_summaries_total{result="over_budget"} 996`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not all are closed and summarized after 3 minutes: %.300s", open)
		}
	}
	if n := calls.Load(); n < 1 || n > 4 {
		t.Errorf("%d calls, want 1 to 4", n)
	}
	before := len(s.Requests())
	t.Logf("1000 alerts cost %d calls", before)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runIn(t, dir, config)
	if status, answer := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	until(t, "one more over the budget", func() bool {
		_, metrics := ask(t, "GET", r.url+"/metrics", "", "")
		return strings.Contains(metrics, `kmend_llm_summaries_total{result="over_budget"} 1`)
	})
	if n := len(s.Requests()); n > 4 {
		t.Errorf("%d calls after a restart, want 4 at most in an hour", n)
	}
}

// The default of each field that a Writer has, too, is the Writer's.
func TestLLMDefaults(t *testing.T) {
	c := LLM{Provider: "openai"}
	c.resolve()
	d := llm.DefaultOptions()
	if c.URL != llm.OpenAIURL || c.Timeout.D() != d.Timeout || c.MaxTokens != d.MaxTokens || llm.Budget(c.Budget) != d.Budget {
		t.Errorf("%+v; want %+v", c, d)
	}
}
