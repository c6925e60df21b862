package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server in this process, with the real store, workflow engine and agent.
type running struct {
	url  string
	stop func() error
}

func run(t *testing.T, yaml string) running {
	t.Helper()
	dir := t.TempDir()
	return runIn(t, dir, yaml)
}

func runIn(t *testing.T, dir, yaml string) running {
	t.Helper()
	c, err := Load(writeConfig(t, dir, "listen: 127.0.0.1:0\ndataDir: data\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	r := running{url: "http://" + a.Addr().String(), stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// list asks for the incidents until there are n and all are closed.
func (r running) list(t *testing.T, n int) []incident.Incident {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		status, body := ask(t, "GET", r.url+"/api/v1/incidents", "", "")
		if status != 200 {
			t.Fatalf("list: %d %s", status, body)
		}
		var got list
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, inc := range got.Items {
			if !inc.Phase.Closed() {
				open++
			}
		}
		if len(got.Items) == n && open == 0 {
			return got.Items
		}
	}
	t.Fatalf("no %d closed incidents within 20 s", n)
	return nil
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../webhook/testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Root on this node can ask the local agent, as kmend diagnose --since does.
func TestAgentSocket(t *testing.T) {
	dir := t.TempDir()
	r := runIn(t, dir, "agents: {socket: agent.sock}\n")
	o := agent.DefaultClientOptions()
	o.URL = "unix://" + filepath.Join(dir, "agent.sock")
	client, err := agent.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var c agent.Capabilities
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err = client.Capabilities(t.Context()); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	if len(c.Probes) < 10 || c.AgentVersion != "test" {
		t.Errorf("it can %+v", c)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "agent.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// What Alertmanager sent becomes an incident with a reason, survives a restart,
// and is the same incident when it is sent again.
func TestNotificationToIncident(t *testing.T) {
	dir := t.TempDir()
	r := runIn(t, dir, "")
	hook := "/webhook/alertmanager"
	if status, body := ask(t, "POST", r.url+hook, "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook: %d %s", status, body)
	}
	inc := r.list(t, 1)[0]
	if inc.Target.Cgroup != "/sys/fs/cgroup/cpu/demo/checkout" || inc.Outcome != incident.OutcomeInconclusive || !strings.Contains(inc.Reason, "does not exist") {
		t.Fatalf("incident %+v; want inconclusive, for the cgroup does not exist", inc)
	}
	if status, body := ask(t, "GET", r.url+"/api/v1/incidents/"+inc.ID, "", ""); status != 200 || !strings.Contains(body, "/sys/fs/cgroup/cpu/demo/checkout") {
		t.Errorf("get: %d %s", status, body)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runIn(t, dir, "")
	if status, _ := ask(t, "POST", r.url+hook, "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook after a restart: %d", status)
	}
	if again := r.list(t, 1)[0]; again.ID != inc.ID || again.Deliveries != 2 {
		t.Errorf("delivered again: incident %s with %d deliveries; want %s with 2", again.ID, again.Deliveries, inc.ID)
	}
}

func TestAlertWithoutTargetIsAnIncident(t *testing.T) {
	r := run(t, "")
	body := `{"version":"4","groupKey":"k","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Slow","instance":"10.0.0.1:9100"},"startsAt":"2026-01-02T03:04:05Z"}]}`
	if status, answer := ask(t, "POST", r.url+"/webhook/alertmanager", "", body); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	if inc := r.list(t, 1)[0]; inc.Outcome != incident.NoTarget || !strings.Contains(inc.Reason, "no label names what is slow") {
		t.Errorf("outcome %s, %q; want no_target with the labels that were looked for", inc.Outcome, inc.Reason)
	}
}

// Grafana's door is open to who signs.
func TestGrafana(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "grafana.secret"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runIn(t, dir, "webhook: {grafana: {hmacSecretFile: "+filepath.Join(dir, "grafana.secret")+", timestampHeader: X-Time}}\n")
	body := recorded(t, "grafana-firing")
	now := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(now + ":" + body))
	signature := hex.EncodeToString(mac.Sum(nil))
	if status, answer := ask(t, "POST", r.url+"/webhook/grafana", "", body, "X-Time", now); status != 401 {
		t.Errorf("without a signature: %d %s", status, answer)
	}
	if status, answer := ask(t, "POST", r.url+"/webhook/grafana", "", body, "X-Time", now, webhook.SignatureHeader, signature); status != 204 {
		t.Fatalf("signed: %d %s", status, answer)
	}
	if inc := r.list(t, 1)[0]; inc.Target.Pod != "checkout-7d9f5c8b6-x2x4z" || inc.Alerts[0].PanelURL == "" {
		t.Errorf("incident %+v", inc)
	}
}

// The API takes the ids that the store makes.
func TestNextPage(t *testing.T) {
	r := run(t, "")
	for _, name := range []string{"firing-cgroup", "resolved-cgroup"} {
		if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, name)); status != 204 {
			t.Fatalf("webhook: %d %s", status, body)
		}
	}
	again := strings.ReplaceAll(recorded(t, "firing-cgroup"), "2026-11-21T22:17:45", "2026-11-21T23:17:45")
	if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", again); status != 204 {
		t.Fatalf("webhook: %d %s", status, body)
	}
	id := r.list(t, 1)[0].ID
	if !strings.HasSuffix(id, ".2") {
		t.Errorf("id %s, want the second episode", id)
	}
	if status, body := ask(t, "GET", r.url+"/api/v1/incidents?before="+id, "", ""); status != 200 || !strings.Contains(body, `"items": []`) {
		t.Errorf("before %s: %d %s; want an empty page", id, status, body)
	}
}

// What the policies ask for reaches the responder, and the log when nobody can give it.
func TestPoliciesAreHeeded(t *testing.T) {
	const policy = "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: careful}\nmaxEvidenceAge: 7m\nrules:\n- {name: by day, decide: require_approval, reason: r}\n"
	for _, c := range []struct {
		approvers string
		warned    bool
	}{{"", true}, {"approvers: [{name: ada, tokenFile: ada}]\n", false}} {
		dir := t.TempDir()
		for name, text := range map[string]string{"policy.yaml": policy, "ada": "ada!"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		conf, err := Load(writeConfig(t, dir, "listen: 127.0.0.1:0\ndataDir: data\npolicies: [policy.yaml]\n"+c.approvers))
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		a, err := New(t.Context(), conf, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.responder.MaxEvidenceAge(); got != 7*time.Minute {
			t.Errorf("the responder acts on evidence of %s; the policy allows 7m", got)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if warned := strings.Contains(log.String(), "careful/by day") && strings.Contains(log.String(), "set approvers"); warned != c.warned {
			t.Errorf("with %q: warned %v; want %v: %s", c.approvers, warned, c.warned, log.String())
		}
	}
}

func TestPages(t *testing.T) {
	r := run(t, "")
	for path, want := range map[string]string{
		"/healthz": `"status": "ok"`,
		"/metrics": "kmend_webhook_notifications_total",
	} {
		if status, body := ask(t, "GET", r.url+path, "", ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, body := ask(t, "GET", r.url+"/readyz", "", "", "Accept", "x")
		if status == 200 && strings.Contains(body, `"ready": true`) && strings.Contains(body, `"name": "agent"`) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("not ready: %d %s", status, body)
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/", 404}, {"PUT", "/healthz", 405}, {"GET", "/webhook/alertmanager", 405}, {"DELETE", "/api/v1/incidents", 405}} {
		if status, body := ask(t, c.method, r.url+c.path, "", ""); status != c.status {
			t.Errorf("%s %s: %d %s; want %d", c.method, c.path, status, body, c.status)
		}
	}
	if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup"), "Host", "evil.example"); status != 403 {
		t.Errorf("webhook under another name: %d %s; want 403", status, body)
	}
}

// What keeps a server from starting names the field to change, and nothing stays open.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kind: Nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ yaml, says string }{
		"address in use":  {"listen: " + taken.Addr().String() + "\ndataDir: data\n", "set listen to"},
		"dataDir is file": {"listen: 127.0.0.1:0\ndataDir: file\n", "dataDir"},
		"wrong runbook":   {"listen: 127.0.0.1:0\ndataDir: data\nrunbooks: [file]\n", "loading runbooks"},
		"wrong policy":    {"listen: 127.0.0.1:0\ndataDir: data\npolicies: [file]\n", "loading policies"},
		"wrong kubeconf":  {"listen: 127.0.0.1:0\ndataDir: data\nkubernetes:\n  enabled: true\n  kubeconfig: file\n", "kubernetes.kubeconfig"},
	} {
		conf, err := Load(writeConfig(t, dir, c.yaml))
		if err != nil {
			t.Fatal(name, err)
		}
		a, err := New(t.Context(), conf, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			t.Errorf("%s: started", name)
			_ = a.Stop(t.Context())
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
}

func TestOneServerADatabase(t *testing.T) {
	dir := t.TempDir()
	runIn(t, dir, "")
	c, err := Load(filepath.Join(dir, "kmend.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second server on the same data: %v; want that it is in use", err)
	}
}

func TestCleanupsRunBackwardsAndInTime(t *testing.T) {
	var order []string
	c := cleanups{log: slog.New(slog.DiscardHandler)}
	step := func(name string, err error) {
		c.add(name, func(context.Context) error { order = append(order, name); return err })
	}
	step("first", nil)
	step("second", errors.New("broken"))
	step("third", nil)
	err := c.run(t.Context())
	if got := strings.Join(order, " "); got != "third second first" {
		t.Errorf("order %s; want third second first", got)
	}
	if err == nil || err.Error() != "stopping the second: broken" {
		t.Errorf("error %v", err)
	}
	if c.run(t.Context()) != nil || len(order) != 3 {
		t.Error("ran twice")
	}
	release := make(chan struct{})
	defer close(release)
	slow := cleanup{"slow", func(context.Context) error { <-release; return nil }}
	if err := slow.within(t.Context(), 10*time.Millisecond); err == nil || !strings.Contains(err.Error(), "not done within 10ms") {
		t.Errorf("slow clean-up: %v", err)
	}
}

func TestReadiness(t *testing.T) {
	dir := t.TempDir()
	if err := writable(dir)(t.Context()); err != nil {
		t.Error(err)
	}
	if err := writable(filepath.Join(dir, "absent"))(t.Context()); err == nil || !strings.Contains(err.Error(), "writing to the data directory") {
		t.Errorf("a directory that is not there: %v", err)
	}
	fine := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("no BTF") }
	for name, c := range map[string]struct {
		checks []check
		status int
		says   string
	}{
		"all well":                {[]check{{"a", true, fine}, {"b", false, fine}}, 200, `"ready": true`},
		"what is not vital fails": {[]check{{"a", true, fine}, {"b", false, broken}}, 200, `"reason": "no BTF"`},
		"what is vital fails":     {[]check{{"a", true, broken}, {"b", false, fine}}, 503, `"ready": false`},
	} {
		w := httptest.NewRecorder()
		ready(c.checks)(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s; want %d with %s", name, w.Code, w.Body, c.status, c.says)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	var log strings.Builder
	w := httptest.NewRecorder()
	h := recovered(slog.New(slog.NewTextHandler(&log, nil)))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("inside") }))
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "inside") || !strings.Contains(log.String(), "inside") {
		t.Errorf("%d %s, log %s; want 500, and the panic in the log only", w.Code, w.Body, log.String())
	}
}
