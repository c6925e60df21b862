package alertmanager

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/template"
)

// A real Alertmanager delivers what was posted, with the token, tries again on
// a 503, and says when it is resolved.
func TestDelivers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Alertmanager; `make test` runs it")
	}
	type delivery struct {
		auth string
		data template.Data
	}
	got := make(chan delivery, 10)
	var refused atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		d := delivery{auth: r.Header.Get("Authorization")}
		if err := json.Unmarshal(body, &d.data); err != nil {
			t.Errorf("notification is no JSON: %v", err)
		}
		got <- d
	}))
	defer receiver.Close()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	am, err := Start(t.Context(), Options{Dir: dir, WebhookURL: receiver.URL, TokenFile: token, GroupInterval: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := am.Stop(); err != nil {
			t.Error(err)
		}
	})
	alert := Alert{Labels: map[string]string{"alertname": "Slow", "cgroup": "/x"}}
	if err := am.Post(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	for _, status := range []string{"firing", "resolved"} {
		select {
		case d := <-got:
			if d.auth != "Bearer s3cret" || d.data.Status != status || len(d.data.Alerts) != 1 || d.data.Alerts[0].Labels["cgroup"] != "/x" {
				t.Errorf("want %s; got %+v", status, d)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no %s notification within 20 s; Alertmanager says:\n%s", status, am.Tail())
		}
		if status == "firing" {
			if err := am.Resolve(t.Context(), alert); err != nil {
				t.Fatal(err)
			}
		}
	}
	// It counts a request once it has its answer.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := am.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Received == 2 && c.Sent == 2 && c.Requests >= 4 && c.Failed >= 2 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("Alertmanager counts %+v; want 2 received, 2 sent, 4 requests of which 2 failed", c)
			break
		}
	}
	if n := refused.Load(); n < 4 {
		t.Errorf("%d requests; want the two refused ones and two more", n)
	}
}

func TestStartRefusesWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{WebhookURL: "http://x"}, "Options.Dir"},
		{Options{Dir: "/tmp"}, "Options.WebhookURL"},
	} {
		if _, err := Start(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Start(%+v) = %v, want an error naming %s", c.o, err, c.want)
		}
	}
}

func TestUnpackedSaysHowToFetch(t *testing.T) {
	t.Setenv("KMEND_CACHE", t.TempDir())
	if _, err := unpacked(); err == nil || !strings.Contains(err.Error(), "test/setup/debs prometheus-alertmanager") {
		t.Errorf("unpacked() = %v", err)
	}
}
