package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/prometheus"
)

// everything has all of kmend switched on that exports something; nobody is there to
// talk to.
const everything = `apiVersion: kmend.dev/v1
kind: Config
listen: 127.0.0.1:0
dataDir: data
slack: {botTokenFile: secret, signingSecretFile: secret, channel: C1, apiURL: "http://127.0.0.1:1/"}
pagerduty: {tokenFile: secret, from: kmend@example.test, apiURL: "http://127.0.0.1:1"}
llm: {provider: openai, model: m, url: "http://127.0.0.1:1", apiKeyFile: secret}
logs: {loki: {url: "http://127.0.0.1:1"}}
tracing: {endpoint: "http://127.0.0.1:1/v1/traces"}
`

// kmend runs with everything on, and is the address that it listens on.
func kmend(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "kmend.yaml")
	for path, text := range map[string]string{config: everything, filepath.Join(dir, "secret"): "xoxb-secret\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := app.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), c, app.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a.Addr().String()
}

// asked is the data of one of Prometheus' answers.
func asked(t *testing.T, p *prometheus.Server, path string, data any) (problem string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := process.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := struct{ Data any }{data}
	if err := json.Unmarshal(text, &answer); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s: %s %s %v", path, res.Status, text, err)
	}
	return ""
}

// A real Prometheus loads the rules and evaluates them against what a running kmend
// exports; the dashboard's queries are none that it refuses.
func TestARealPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Prometheus; `make test` runs it")
	}
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := prometheus.StartWith(t.Context(), prometheus.Options{Dir: t.TempDir(), Target: kmend(t), Rules: string(rules)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	type loaded struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError, State string
				LastEvaluation                 time.Time
			}
		}
	}
	var got loaded
	scraped := func() bool { // and every rule evaluated after that
		var up struct {
			Result []struct{ Value [2]any }
		}
		if problem := asked(t, p, "query?query="+url.QueryEscape("kmend_nodes"), &up); problem != "" {
			t.Fatal(problem)
		}
		return len(up.Result) > 0
	}
	until(t, "kmend is scraped", scraped)
	seen := time.Now()
	until(t, "every rule is evaluated", func() bool {
		if problem := asked(t, p, "rules", &got); problem != "" {
			t.Fatal(problem)
		}
		for _, g := range got.Groups {
			for _, r := range g.Rules {
				if !r.LastEvaluation.After(seen) {
					return false
				}
			}
		}
		return len(got.Groups) > 0
	})
	var names []string
	for _, g := range got.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Name)
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("%s: health %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.State == "firing" || r.Name == "KmendDown" && r.State != "inactive" {
				t.Errorf("%s is %s beside a kmend that has just started", r.Name, r.State)
			}
		}
	}
	for _, r := range readRules(t, rulesFile).all() {
		if !slices.Contains(names, r.Alert) {
			t.Errorf("%s was not loaded", r.Alert)
		}
	}
	exportsWhatIsKnown(t, p)
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			var any struct{ Result []any }
			if problem := asked(t, p, "query?query="+url.QueryEscape(forPrometheus(target.Expr)), &any); problem != "" {
				t.Errorf("panel %q: %s", panel.Title, problem)
			}
		}
	}
}

// exportsWhatIsKnown holds what is scraped against what the packages say that they export.
func exportsWhatIsKnown(t *testing.T, p *prometheus.Server) {
	t.Helper()
	var names []string
	if problem := asked(t, p, "label/__name__/values", &names); problem != "" {
		t.Fatal(problem)
	}
	all, _ := exported(t)
	seen := map[string]bool{}
	for _, name := range names {
		m, known := all[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if h, ok := all[strings.TrimSuffix(name, suffix)]; ok && h.kind == "histogram" && strings.HasSuffix(name, suffix) {
				m, known = h, true
			}
		}
		if strings.HasPrefix(name, "kmend_") && !known {
			t.Errorf("kmend exports %s, which no package of this test does", name)
		}
		seen[m.name] = true
	}
	for name, m := range all {
		callers := strings.HasPrefix(name, "kmend_agent_callers") // of an agent in a cluster
		if !seen[name] && !callers && (len(m.labels) == 0 || len(m.values) > 0) {
			t.Errorf("%s has a value from the start, and a running kmend does not export it", name)
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
