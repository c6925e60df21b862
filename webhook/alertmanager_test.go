package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/incident"
)

// ingester is a double of the next stage, by a func.
type ingester func(incident.Notification) error

func (f ingester) Ingest(_ context.Context, n incident.Notification) error { return f(n) }

// door is a real HTTP server with the handler behind it.
type door struct {
	url  string
	m    *Metrics
	log  bytes.Buffer
	got  []incident.Notification
	fail error // what Ingest returns
}

func open(t *testing.T, change func(*Options)) *door {
	t.Helper()
	return openOf(t, NewAlertmanager, change)
}

// openOf opens the door of a sender.
func openOf(t *testing.T, sender func(Ingester, Options) (http.Handler, error), change func(*Options)) *door {
	t.Helper()
	d := &door{m: NewMetrics(prometheus.NewRegistry())}
	opts := DefaultOptions()
	opts.Metrics, opts.Logger = d.m, slog.New(slog.NewTextHandler(&d.log, nil))
	change(&opts)
	h, err := sender(ingester(func(n incident.Notification) error {
		if d.fail == nil {
			d.got = append(d.got, n)
		}
		return d.fail
	}), opts)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	d.url = s.URL
	return d
}

// reply is a response that was read.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (d *door) send(t *testing.T, method string, body []byte, header ...string) (reply, answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if resp.StatusCode >= 300 {
		if err := json.Unmarshal(raw, &a); err != nil || a.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("status %d with body %q; want a JSON error", resp.StatusCode, raw)
		}
	}
	return reply{resp.StatusCode, resp.Header}, a
}

func TestAcceptsWhatIsCommitted(t *testing.T) {
	d := open(t, func(*Options) {})
	resp, _ := d.send(t, "POST", recorded(t, "firing-truncated"), "Content-Type", "application/json; charset=utf-8")
	if resp.StatusCode != http.StatusNoContent || len(d.got) != 1 || len(d.got[0].Alerts) != 2 {
		t.Fatalf("status %d, ingested %+v", resp.StatusCode, d.got)
	}
	if got := testutil.ToFloat64(d.m.truncated); got != 1 {
		t.Errorf("truncated counter = %v; want 1", got)
	}
	if got := testutil.ToFloat64(d.m.alerts.WithLabelValues("firing")); got != 2 {
		t.Errorf("firing alerts counter = %v; want 2", got)
	}
	if got := testutil.ToFloat64(d.m.notifications.WithLabelValues(resultAccepted)); got != 1 {
		t.Errorf("accepted counter = %v; want 1", got)
	}
}

func TestRefusals(t *testing.T) {
	d := open(t, func(o *Options) { o.MaxBodyBytes = 4096 })
	good := recorded(t, "firing-cgroup")
	for name, c := range map[string]struct {
		method string
		body   []byte
		header []string
		status int
		says   string
		result string
	}{
		"get":           {"GET", nil, nil, 405, "POST", resultRefused},
		"form":          {"POST", good, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "want application/json", resultRefused},
		"no type":       {"POST", good, []string{"Content-Type", ""}, 415, "want application/json", resultRefused},
		"gzip":          {"POST", good, []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding", resultRefused},
		"malformed":     {"POST", []byte(`{"version":"3"}`), nil, 400, `version: "3" must be "4"`, resultMalformed},
		"broken":        {"POST", good[:100], nil, 400, "not JSON", resultMalformed},
		"large":         {"POST", append(bytes.Repeat([]byte(" "), 4096), good...), nil, 413, "more than 4096 bytes", resultTooLarge},
		"large garbage": {"POST", bytes.Repeat([]byte("x"), 100000), nil, 413, "maxBodyBytes", resultTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			before := testutil.ToFloat64(d.m.notifications.WithLabelValues(c.result))
			resp, a := d.send(t, c.method, c.body, c.header...)
			if resp.StatusCode != c.status || !strings.Contains(a.Error, c.says) {
				t.Errorf("status %d %q; want %d with %q", resp.StatusCode, a.Error, c.status, c.says)
			}
			if c.status == 405 && resp.Header.Get("Allow") != "POST" {
				t.Errorf("Allow = %q", resp.Header.Get("Allow"))
			}
			if got := testutil.ToFloat64(d.m.notifications.WithLabelValues(c.result)); got != before+1 {
				t.Errorf("%s counter rose by %v; want 1", c.result, got-before)
			}
		})
	}
	if len(d.got) != 0 {
		t.Errorf("ingested %d refused notifications", len(d.got))
	}
	_, a := d.send(t, "POST", good[:100])
	if a.Offset == 0 {
		t.Errorf("no offset in the answer to broken JSON: %+v", a)
	}
	_, a = d.send(t, "POST", body(func(_, alert map[string]any) { alert["startsAt"] = "x" }))
	if a.Field != "alerts[0].startsAt" {
		t.Errorf("field = %q; want alerts[0].startsAt", a.Field)
	}
	many := body(func(m, alert map[string]any) {
		alerts := make([]any, MaxAlerts+1)
		for i := range alerts {
			alerts[i] = alert
		}
		m["alerts"] = alerts
	})
	wide := open(t, func(*Options) {})
	if resp, a := wide.send(t, "POST", many); resp.StatusCode != http.StatusRequestEntityTooLarge || a.Field != "alerts" {
		t.Errorf("too many alerts: %d %+v; want 413 for field alerts", resp.StatusCode, a)
	}
}

func TestStorageTroubleIs503AndTellsNothing(t *testing.T) {
	d := open(t, func(*Options) {})
	for err, result := range map[error]string{
		ErrFull: resultFull,
		errors.New("disk I/O error at /var/lib/kmend/secret.db"): resultUnavailable,
	} {
		d.fail = err
		resp, a := d.send(t, "POST", recorded(t, "firing-cgroup"))
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" {
			t.Errorf("%v: status %d, Retry-After %q; want 503 and 5", err, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		if strings.Contains(a.Error, "secret.db") {
			t.Errorf("the answer tells internals: %q", a.Error)
		}
		if got := testutil.ToFloat64(d.m.notifications.WithLabelValues(result)); got != 1 {
			t.Errorf("%s counter = %v; want 1", result, got)
		}
	}
	if !strings.Contains(d.log.String(), "secret.db") {
		t.Errorf("the operator's log does not say what happened:\n%s", d.log.String())
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	token, password := filepath.Join(dir, "token"), filepath.Join(dir, "password")
	for path, v := range map[string]string{token: "s3cret\n", password: "pa:ss"} {
		if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, func(o *Options) { o.BearerTokenFile, o.BasicUsername, o.BasicPasswordFile = token, "am", password })
	basic := func(user, pass string) string {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.SetBasicAuth(user, pass)
		return r.Header.Get("Authorization")
	}
	for header, want := range map[string]int{
		"":                     401,
		"Bearer s3cret":        204,
		"bearer s3cret":        204,
		"Bearer gu3ssed":       401,
		"Bearer pa:ss":         401,
		basic("am", "pa:ss"):   204,
		basic("am", "gu3ssed"): 401,
		basic("root", "pa:ss"): 401,
		basic("am", "s3cret"):  401,
		"Digest x":             401,
	} {
		resp, _ := d.send(t, "POST", recorded(t, "firing-cgroup"), "Authorization", header)
		if resp.StatusCode != want {
			t.Errorf("Authorization %q: status %d; want %d", header, resp.StatusCode, want)
		}
		challenge := strings.Join(resp.Header.Values("Www-Authenticate"), "\n")
		if want == 401 && (!strings.Contains(challenge, "Bearer realm") || !strings.Contains(challenge, "Basic realm")) {
			t.Errorf("WWW-Authenticate = %q; want both schemes", challenge)
		}
	}
	for _, s := range []string{"s3cret", "pa:ss", "gu3ssed"} {
		if strings.Contains(d.log.String(), s) {
			t.Errorf("the log holds a credential, %q", s)
		}
	}
	// A token that is gone opens nothing, and the sender tries again.
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	resp, _ := d.send(t, "POST", recorded(t, "firing-cgroup"), "Authorization", "Bearer s3cret")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("with the token file gone: status %d; want 503 with Retry-After", resp.StatusCode)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"MaxBodyBytes":      func(o *Options) { o.MaxBodyBytes = 0 },
		"RetryAfter":        func(o *Options) { o.RetryAfter = 0 },
		"BasicPasswordFile": func(o *Options) { o.BasicUsername = "am" },
		"Logger":            func(o *Options) { o.Logger = nil },
		"Metrics":           func(o *Options) { o.Metrics = nil },
		"no such file":      func(o *Options) { o.BearerTokenFile = "testdata/absent" },
	} {
		opts := DefaultOptions()
		opts.Metrics = NewMetrics(prometheus.NewRegistry())
		change(&opts)
		if _, err := NewAlertmanager(ingester(nil), opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error = %v; want one that names it", name, err)
		}
	}
}
