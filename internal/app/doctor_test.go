package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/test/elasticsearch"
	"github.com/kmend/kmend/test/llm"
	"github.com/kmend/kmend/test/logstore"
	"github.com/kmend/kmend/test/loki"
	"github.com/kmend/kmend/test/pagerduty"
	"github.com/kmend/kmend/test/slack"
)

// ward is an installation made of stand-ins, and how each of them may be ill.
type ward struct {
	dir       string
	slack     *slack.Server
	pagerduty *pagerduty.Server
	llm       *llm.Server
	loki      *loki.Server
	elastic   *elasticsearch.Server
	agent     *httptest.Server
	late      *time.Duration // the agent's clock is ahead by it
}

func newWard(t *testing.T) ward {
	t.Helper()
	w := ward{dir: t.TempDir(), slack: slack.Start(slack.Options{}), pagerduty: pagerduty.Start(), late: new(time.Duration),
		llm: llm.OpenAI(func(llm.Prompt) string { t.Error("a model is asked"); return "" }), loki: loki.NewServer(t), elastic: elasticsearch.NewServer(t)}
	o := agent.DefaultOptions()
	o.NodeName, o.Version, o.NoRecorder = "n1", "v1.2.3", "a test"
	a, err := agent.New(o)
	if err != nil {
		t.Fatal(err)
	}
	h := agent.NewHandler(a)
	w.agent = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(*w.late).UTC().Format(http.TimeFormat))
		h.ServeHTTP(rw, r)
	}))
	w.agent.Config.Protocols = new(http.Protocols)
	w.agent.Config.Protocols.SetUnencryptedHTTP2(true)
	w.agent.Start()
	t.Cleanup(func() {
		w.slack.Close()
		w.pagerduty.Close()
		w.llm.Close()
		w.agent.Close()
		a.Close()
		for _, p := range append(w.pagerduty.Problems(), w.slack.Problems()...) {
			t.Error(p)
		}
	})
	for name, text := range map[string]string{"bot": slack.BotToken, "pd": pagerduty.Token, "routing": pagerduty.RoutingKey, "key": llm.Key} {
		w.write(t, name, text)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w ward) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w ward) yaml() string {
	return fmt.Sprintf(`dataDir: data
agents: {local: false, static: [{node: n1, url: %q}]}
slack: {botTokenFile: bot, channel: "#kmend", apiURL: %q}
pagerduty: {tokenFile: pd, from: %s, routingKeyFile: routing, apiURL: %q}
llm: {provider: openai, model: %s, apiKeyFile: key, url: %q}
logs: {loki: {url: %q}, elasticsearch: {url: %q}}
`, w.agent.URL, w.slack.APIURL(), pagerduty.User, w.pagerduty.URL, llm.Model, w.llm.URL+"/v1", w.loki.URL, w.elastic.URL)
}

// visit is the report about the ward, and its lines by name.
func (w ward) visit(t *testing.T) (doctor.Report, map[string]doctor.Line) {
	t.Helper()
	r := Doctor(t.Context(), writeConfig(t, w.dir, w.yaml()), Options{Version: "test"}, nil)
	return r, byName(r)
}

func byName(r doctor.Report) map[string]doctor.Line {
	lines := map[string]doctor.Line{}
	for _, l := range r.Lines {
		if was, twice := lines[l.Name]; !twice || was.Status != doctor.Todo {
			lines[l.Name] = l
		}
	}
	return lines
}

// Everybody who is configured is asked, and nothing is posted, paged or generated.
func TestDoctorWell(t *testing.T) {
	w := newWard(t)
	report, lines := w.visit(t)
	for name, want := range map[string]string{
		"Slack": "knows the bot as kmend in Example; messages go to #kmend", "scopes of Slack": "chat:write", "PagerDuty": "knows kmend@example.com",
		"LLM": "it has model stand-in-1", "Loki": "answers a query", "Elasticsearch": "answers a query", "policies": "1", "disk": "GB are free",
	} {
		if l := lines[name]; l.Status != doctor.OK || !strings.Contains(l.Found, want) {
			t.Errorf("%s: %+v, want ok with %q", name, l, want)
		}
	}
	for _, name := range []string{"database", "Kubernetes API", "Prometheus", "Jaeger", "Tempo", "mode", "routing key of PagerDuty"} {
		if l := lines[name]; l.Status != doctor.Off {
			t.Errorf("%s: %+v, want off", name, l)
		}
	}
	if l := lines["node n1"]; !strings.Contains(l.Found, "agent v1.2.3") { // ok or not, by this kernel
		t.Errorf("node n1: %+v", l)
	}
	for _, l := range report.Lines {
		if l.Status == doctor.Todo && l.Name != "node n1" {
			t.Errorf("%+v", l)
		}
	}
	if n := w.slack.Calls("chat.postMessage"); n != 0 {
		t.Errorf("%d messages were posted", n)
	}
	if n := w.pagerduty.Calls("POST", ""); n != 0 {
		t.Errorf("PagerDuty was told %d times", n)
	}
	again, _ := w.visit(t)
	for i, l := range again.Lines {
		if i >= len(report.Lines) || l.Group != report.Lines[i].Group || l.Name != report.Lines[i].Name {
			t.Fatalf("another time the order is another: %+v", again.Lines)
		}
	}
}

// Whatever is wrong is a line that says what to do, and no other one.
func TestDoctorIll(t *testing.T) {
	for name, c := range map[string]struct {
		harm        func(t *testing.T, w ward)
		line, found string
		todo        string
	}{
		"wrong bot token":   {func(t *testing.T, w ward) { w.write(t, "bot", "xoxb-wrong") }, "Slack", "invalid_auth", "slack.botTokenFile"},
		"Slack away":        {func(_ *testing.T, w ward) { w.slack.Break(func(string) (int, string) { return 500, "no" }) }, "Slack", "500", "reached"},
		"wrong pager token": {func(t *testing.T, w ward) { w.write(t, "pd", "nothing") }, "PagerDuty", "401", "pagerduty.tokenFile"},
		"wrong routing key": {func(t *testing.T, w ward) { w.write(t, "routing", "short") }, "routing key of PagerDuty", "not the form", "Events API v2"},
		"wrong model key":   {func(t *testing.T, w ward) { w.write(t, "key", "sk-wrong") }, "LLM", "401", "llm.apiKeyFile"},
		"model in trouble":  {func(_ *testing.T, w ward) { w.llm.Break(llm.Fault{Status: 529}) }, "LLM", "529", "reached"},
		"Loki away":         {func(_ *testing.T, w ward) { w.loki.Set(logstore.Broken) }, "Loki", "500", "logs.loki"},
		"Elasticsearch":     {func(_ *testing.T, w ward) { w.elastic.Set(logstore.Garbage) }, "Elasticsearch", "reading the answer", "logs.elasticsearch"},
		"agent away":        {func(_ *testing.T, w ward) { w.agent.Close() }, "node n1", "asking the agent", "agent runs"},
		"agent's clock":     {func(_ *testing.T, w ward) { *w.late = 5 * time.Second }, "node n1", "ahead of ours", "NTP"},
		"no data directory": {func(t *testing.T, w ward) { must(t, os.Remove(filepath.Join(w.dir, "data"))) }, "disk", "no such file", "dataDir"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t)
			c.harm(t, w)
			report, _ := w.visit(t)
			if report.OK {
				t.Fatal("nothing is to be done")
			}
			met := false
			for _, l := range report.Lines {
				switch {
				case l.Name == c.line && l.Status == doctor.Todo:
					met = met || strings.Contains(l.Found, c.found) && strings.Contains(l.Todo, c.todo)
				case l.Status == doctor.Todo && l.Name != "node n1":
					t.Errorf("%+v", l)
				}
			}
			if !met {
				t.Errorf("no line %q with %q and %q in %+v", c.line, c.found, c.todo, report.Lines)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Missing scopes are named, and what is not there without them.
func TestDoctorScopes(t *testing.T) {
	w := newWard(t)
	w.slack.Close()
	w.slack = slack.Start(slack.Options{Scopes: "chat:write"})
	_, lines := w.visit(t)
	if l := lines["scopes of Slack"]; l.Status != doctor.Todo || !strings.Contains(l.Found, "files:write is missing") {
		t.Errorf("%+v", l)
	}
	w.slack.Close()
}

// A model that the provider does not have is found out; a server that lists none is not blamed.
func TestDoctorModels(t *testing.T) {
	w := newWard(t)
	ask := func(name string) doctor.Line {
		return LLM{Provider: "openai", Model: name, URL: w.llm.URL + "/v1", APIKeyFile: filepath.Join(w.dir, "key")}.examineModel(t.Context(), name)
	}
	if l := ask("gpt-none"); l.Status != doctor.Todo || !strings.Contains(l.Found, "no such model") {
		t.Errorf("%+v", l)
	}
	w.llm.Unlist()
	if l := ask(llm.Model); l.Status != doctor.Off {
		t.Errorf("%+v", l)
	}
	a := llm.Anthropic(nil)
	defer a.Close()
	claude := LLM{Provider: "anthropic", Model: llm.Model, URL: a.URL, APIKeyFile: filepath.Join(w.dir, "key")}
	if l := claude.examineModel(t.Context(), llm.Model); l.Status != doctor.OK {
		t.Errorf("%+v", l)
	}
}

// Who is told a secret and repeats it does not get it into a line.
func TestDoctorKeepsSecrets(t *testing.T) {
	w := newWard(t)
	w.pagerduty.Close()
	echo := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(rw).Encode(map[string]any{"error": map[string]any{"code": 2010, "message": "no: " + r.Header.Get("Authorization"), "errors": []string{r.Header.Get("Authorization")}}})
	}))
	defer echo.Close()
	yaml := strings.ReplaceAll(w.yaml(), w.pagerduty.URL, echo.URL)
	r := Doctor(t.Context(), writeConfig(t, w.dir, yaml), Options{Version: "test"}, nil)
	text, err := json.Marshal(r)
	must(t, err)
	if l := byName(r)["PagerDuty"]; l.Status != doctor.Todo || !strings.Contains(l.Found, "[secret]") {
		t.Errorf("%+v", l)
	}
	for _, secret := range []string{pagerduty.Token, pagerduty.RoutingKey, slack.BotToken, llm.Key} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the report has %s in it", secret)
		}
	}
}

// A configuration that is wrong is said by file and line, and what can be looked at
// all the same is.
func TestDoctorConfiguration(t *testing.T) {
	w := newWard(t)
	r := Doctor(t.Context(), writeConfig(t, w.dir, strings.Replace(w.yaml(), "tokenFile: pd", "tokenFile: nowhere", 1)), Options{}, nil)
	if first := r.Lines[0]; first.Status != doctor.Todo || !strings.Contains(first.Found, "kmend.yaml:6") || !strings.Contains(first.Found, "pagerduty.tokenFile") {
		t.Errorf("%+v", first)
	}
	if l := byName(r)["Slack"]; l.Status != doctor.OK {
		t.Errorf("%+v", l)
	}
	r = Doctor(t.Context(), writeConfig(t, w.dir, "listen: ["), Options{}, nil)
	if len(r.Lines) != 1 || r.Lines[0].Status != doctor.Todo {
		t.Errorf("%+v", r.Lines)
	}
}

// A server says the same of itself to who may read, and what came in.
func TestDoctorOfServer(t *testing.T) {
	w := newWard(t)
	w.write(t, "read", "read!")
	w.write(t, "hook", "hook!")
	s := runIn(t, w.dir, strings.TrimPrefix(w.yaml(), "dataDir: data\n")+"api: {tokenFile: read}\nwebhook: {bearerTokenFile: hook}\n")
	if status, _ := ask(t, "GET", s.url+"/api/v1/doctor", "", ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	get := func() map[string]doctor.Line {
		t.Helper()
		status, body := ask(t, "GET", s.url+"/api/v1/doctor", "read!", "")
		var r doctor.Report
		if err := json.Unmarshal([]byte(body), &r); status != http.StatusOK || err != nil || r.Kind != "DoctorReport" {
			t.Fatalf("%d %s, %v", status, body, err)
		}
		return byName(r)
	}
	lines := get()
	if l := lines["alerts"]; l.Status != doctor.Off || !strings.Contains(l.Found, "no notification came") {
		t.Errorf("%+v", l)
	}
	if l := lines["database"]; l.Status != doctor.OK || !strings.Contains(l.Found, "which is this kmend's") {
		t.Errorf("%+v", l)
	}
	if l := lines["configuration in use"]; l.Status != doctor.OK {
		t.Errorf("%+v", l)
	}
	if status, _ := ask(t, "POST", s.url+"/webhook/alertmanager", "wrong", recorded(t, "firing-cgroup"), "Content-Type", "application/json"); status != http.StatusUnauthorized {
		t.Fatalf("a wrong token: %d", status)
	}
	if l := get()["alerts"]; l.Status != doctor.Todo || !strings.Contains(l.Found, "1 notifications came since the start without the right credentials") {
		t.Errorf("%+v", l)
	}
}

// Clocks that say whole seconds are not blamed for the rest of theirs.
func TestOff(t *testing.T) {
	at := time.Unix(100, 400e6)
	for theirs, want := range map[int64]time.Duration{100: 0, 99: -400 * time.Millisecond, 98: -1400 * time.Millisecond, 101: 500 * time.Millisecond, 103: 2500 * time.Millisecond} {
		if got := off(time.Unix(theirs, 0), at, at.Add(100*time.Millisecond)); got != want {
			t.Errorf("%d: off by %s, want %s", theirs, got, want)
		}
	}
	if l := clockLine("c", "it", -1400*time.Millisecond); l.Status != doctor.Todo || !strings.Contains(l.Found, "1.4s behind ours") {
		t.Errorf("%+v", l)
	}
	if l := clockLine("c", "it", time.Second); l.Status != doctor.OK {
		t.Errorf("%+v", l)
	}
}

// An Alertmanager is asked whether it sends here.
func TestDoctorOfAlertmanager(t *testing.T) {
	const other = "receivers: [{name: mail}]\nroute: {receiver: mail}\n"
	for name, c := range map[string]struct {
		config string
		want   doctor.Status
		found  string
	}{
		"sends":      {"receivers: [{name: k, webhook_configs: [{url: 'http://u:xxxxx@kmend:9790/webhook/alertmanager'}]}]\nroute: {receiver: d, routes: [{receiver: k}]}", doctor.OK, "sends to kmend:9790"},
		"no route":   {"receivers: [{name: k, webhook_configs: [{url: 'http://kmend:9790/webhook/alertmanager'}]}]\nroute: {receiver: d}", doctor.Todo, "no route leads"},
		"unresolved": {"receivers: [{name: k, webhook_configs: [{url: 'http://kmend:9790/webhook/alertmanager', send_resolved: false}]}]\nroute: {receiver: k}", doctor.Todo, "does not send what resolved"},
		"hidden":     {"receivers: [{name: k, webhook_configs: [{url: <secret>}]}]\nroute: {receiver: k}", doctor.Off, "does not say"},
		"none":       {other, doctor.Todo, "none of its 1 receivers"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/am/api/v2/status":
					_ = json.NewEncoder(w).Encode(map[string]any{"config": map[string]string{"original": c.config}})
				case "/am/metrics":
					fmt.Fprint(w, "# TYPE alertmanager_notifications_failed_total counter\nalertmanager_notifications_failed_total{integration=\"webhook\"} 3\n"+
						"# TYPE alertmanager_notifications_total counter\nalertmanager_notifications_total{integration=\"webhook\"} 7\nalertmanager_notifications_total{integration=\"email\"} 9\n")
				default:
					http.NotFound(w, r)
				}
			}))
			defer s.Close()
			lines := doctor.Run(t.Context(), []doctor.Check{AlertmanagerCheck(s.URL + "/am/")}, nil)
			if l := lines[0]; l.Status != c.want || !strings.Contains(l.Found, c.found) {
				t.Errorf("%+v", l)
			}
			if l := lines[len(lines)-1]; l.Status != doctor.Todo || l.Found != "3 of 7 notifications to webhooks failed" {
				t.Errorf("%+v", l)
			}
		})
	}
	if lines := doctor.Run(t.Context(), []doctor.Check{AlertmanagerCheck("http://127.0.0.1:1")}, nil); len(lines) != 1 || lines[0].Status != doctor.Todo {
		t.Errorf("%+v", lines)
	}
}
