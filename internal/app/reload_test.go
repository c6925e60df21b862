package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/runbooks"
)

// volume is a directory as kubelet makes it of a ConfigMap: the files are links
// through ..data, which is swapped.
type volume struct {
	t       *testing.T
	dir     string
	version int
}

func (v *volume) set(files map[string]string) {
	v.t.Helper()
	must := func(err error) {
		v.t.Helper()
		if err != nil {
			v.t.Fatal(err)
		}
	}
	v.version++
	data := fmt.Sprintf("..%d", v.version)
	must(os.MkdirAll(filepath.Join(v.dir, data), 0o700))
	for name, text := range files {
		must(os.WriteFile(filepath.Join(v.dir, data, name), []byte(text), 0o600))
		link := filepath.Join(v.dir, name)
		if _, err := os.Lstat(link); err != nil {
			must(os.Symlink(filepath.Join("..data", name), link))
		}
	}
	must(os.Symlink(data, filepath.Join(v.dir, "..tmp")))
	must(os.Rename(filepath.Join(v.dir, "..tmp"), filepath.Join(v.dir, "..data")))
}

func runbookText(name, most string) string {
	return "apiVersion: kmend.dev/v1\nkind: Runbook\nmetadata: {name: " + name + "}\nmatch: {cause: cpu.throttled}\nsteps: [{name: raise, action: cgroup.set_cpu_quota, with: {max: " + most + "}}]\n"
}

func policyText(age, more string) string {
	return "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: p}\nmaxEvidenceAge: " + age + "\nrules: [{name: r, decide: deny, reason: all}]\n" + more
}

// still is a server that does not run: the test looks at the files in its place.
func still(t *testing.T, path string, log *strings.Builder, environ ...string) *App {
	t.Helper()
	c, err := Load(path, environ...)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	a.started.Store(true)
	return a
}

func (a *App) page(t *testing.T, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "localhost"
	a.server.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// What changes on disk is in use after it was the same twice; what is broken changes
// nothing and is said on /readyz, in a metric and once in the log.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	books := &volume{t: t, dir: filepath.Join(dir, "runbooks")}
	rules := &volume{t: t, dir: filepath.Join(dir, "policies")}
	books.set(map[string]string{"a.yaml": runbookText("one", "2")})
	rules.set(map[string]string{"p.yaml": policyText("7m", "")})
	config := "listen: 127.0.0.1:0\ndataDir: data\nagents: {recorder: false}\nrunbooks: [runbooks]\npolicies: [policies]\nslack: {botTokenFile: bot, channel: \"#all\"}\npagerduty: {tokenFile: bot, from: a@b}\n"
	for name, text := range map[string]string{"bot": "xoxb-1", "head.tmpl": "first", "other.tmpl": "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	a := still(t, writeConfig(t, dir, config+"templates: {slack: head.tmpl}\n"), &log, "KMEND_SLACK_CHANNEL=#env")
	names := func() string { return strings.Join(a.now.runbooks.Load().Names(), " ") }
	head := func(team string) (channel, words string) {
		inc := incident.Incident{Alerts: []incident.Alert{{Labels: map[string]string{"team": team}}}}
		r := a.now.slackRoute(inc)
		if r.Words == nil {
			return r.Channel, ""
		}
		words, err := r.Words(inc)
		if err != nil {
			t.Fatal(err)
		}
		return r.Channel, words
	}
	says := func(failed string, want ...string) {
		t.Helper()
		status, body := a.page(t, "/readyz")
		if status != http.StatusOK {
			t.Errorf("not ready: %d %s", status, body)
		}
		for _, text := range append(want, `"name": "configuration"`) {
			if !strings.Contains(body, text) {
				t.Errorf("nothing of %q in %s", text, body)
			}
		}
		_, metrics := a.page(t, "/metrics")
		for _, what := range []string{"runbooks", "policies", "routes"} {
			value := map[bool]string{true: "1", false: "0"}[what == failed]
			if line := `kmend_config_reload_failed{what="` + what + `"} ` + value + "\n"; !strings.Contains(metrics, line) {
				t.Errorf("metrics are without %s", line)
			}
		}
	}
	says("", `"ready": true`)

	books.set(map[string]string{"a.yaml": runbookText("two", "2")})
	a.reloads.look()
	if names() != "one" {
		t.Error("taken at the first look: it might be half written")
	}
	a.reloads.look()
	if names() != "two" {
		t.Errorf("runbooks %s; want two", names())
	}

	books.set(map[string]string{"a.yaml": runbookText("three", "2"), "b.yaml": runbookText("four", "much")})
	for range 5 {
		a.reloads.look()
	}
	if names() != "two" {
		t.Errorf("of a broken set, %s are in use", names())
	}
	says("runbooks", "runbooks: the old ones stay in use", "b.yaml:5:")
	if n := strings.Count(log.String(), "what changed is broken"); n != 1 {
		t.Errorf("said %d times in the log", n)
	}
	books.set(map[string]string{"a.yaml": runbookText("three", "2"), "b.yaml": runbookText("four", "2")})
	a.reloads.look()
	a.reloads.look()
	if got := strings.Fields(names()); !slices.Contains(got, "three") || !slices.Contains(got, "four") {
		t.Errorf("mended, there are %s", names())
	}
	says("")

	rules.set(map[string]string{"p.yaml": policyText("3m", "")})
	a.reloads.look()
	a.reloads.look()
	if age := a.responder.MaxEvidenceAge(); age != 3*time.Minute {
		t.Errorf("evidence of %s is acted on; the policy allows 3m now", age)
	}
	rules.set(map[string]string{"p.yaml": policyText("9m", "pagerduty: {acknowledge: true}\n")})
	a.reloads.look()
	a.reloads.look()
	says("policies", "set it, or remove acknowledge")
	if age := a.responder.MaxEvidenceAge(); age != 3*time.Minute {
		t.Errorf("of a refused policy, %s is in use", age)
	}
	rules.set(map[string]string{"p.yaml": policyText("3m", "")})

	if err := os.WriteFile(filepath.Join(dir, "head.tmpl"), []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.reloads.look()
	a.reloads.look()
	if _, words := head("shop"); words != "second" {
		t.Errorf("the template says %q", words)
	}
	writeConfig(t, dir, config+"approvalExpiry: 5m\nroutes: [{name: shop, match: [team=shop], slack: {channel: \"#shop\", template: other.tmpl}}]\n")
	a.reloads.look()
	a.reloads.look()
	if channel, _ := head("cart"); channel != "#env" {
		t.Errorf("the channel is %q; the environment says #env", channel)
	}
	if channel, words := head("shop"); channel != "#shop" || words != "other" {
		t.Errorf("the new route leads to %s in the words %q", channel, words)
	}
	if !strings.Contains(log.String(), "fields=approvalExpiry\n") {
		t.Error("nobody learns that another field needs a restart")
	}
	writeConfig(t, dir, config+"routes: [{name: shop, match: [team~shop], slack: {off: true}}]\n")
	a.reloads.look()
	a.reloads.look()
	if channel, _ := head("shop"); channel != "#shop" {
		t.Errorf("of a broken route, %q is in use", channel)
	}
	says("routes", "routes[0].match[0]")
}

// What is broken for a reason outside of its files is tried again.
func TestReloadTriesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	loads, broken := 0, false
	r := &reloads{log: slog.New(slog.DiscardHandler), metrics: NewMetrics(prometheus.NewRegistry())}
	err := r.add("routes", func() []string { return []string{path} }, func() error {
		if loads++; broken {
			return fmt.Errorf("a secret's file is gone")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := os.WriteFile(path, []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		r.look()
	}
	if loads != 2 || r.broken(t.Context()) == nil {
		t.Errorf("%d loads; want one at the start and one of the change; %v", loads, r.broken(t.Context()))
	}
	broken = false
	r.sets[0].tried = r.sets[0].tried.Add(-retryAfter)
	r.look()
	if loads != 3 || r.broken(t.Context()) != nil {
		t.Errorf("%d loads; want another one after a while; %v", loads, r.broken(t.Context()))
	}
}

// What a person approved is what is done, whatever the runbook says by then.
func TestApprovedPlanOutlivesItsRunbook(t *testing.T) {
	t.Parallel()
	specs, err := ActionSpecs()
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, users(1, "U1"), time.Minute)
	path := filepath.Join(b.dir, "runbook.yaml")
	write := func(most string) {
		if err := os.WriteFile(path, []byte(runbookText("raise", most)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("2")
	var now current
	r := &reloads{log: slog.New(slog.DiscardHandler), metrics: NewMetrics(prometheus.NewRegistry())}
	err = r.add("runbooks", func() []string { return []string{path} }, func() error {
		set, err := runbooks.Load([]string{path}, specs)
		if err == nil {
			now.runbooks.Store(set)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.planner = &now
	b.start(time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	write("4")
	r.look()
	r.look()
	inc := incident.Incident{Target: incident.Target{Cgroup: "/a"}}
	d, err := b.Diagnose(t.Context(), inc.Target, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	inc.Diagnosis = &d
	if plan, ok, why, _ := now.Plan(inc); !ok || fmt.Sprint(plan.Steps[0].With["max"]) != "4" {
		t.Fatalf("the next plan is %+v, %s", plan, why)
	}
	b.click(m, "approve", "U1")
	b.ends("Fixed:", "Approved by u1 (Slack U1) at")
	b.doubles.set(func(h *doubles) {
		if most := fmt.Sprint(h.done.Steps[0].With["max"]); most != "2" {
			t.Errorf("max %s was carried out; 2 was approved", most)
		}
	})
}
