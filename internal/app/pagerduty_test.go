package app

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standin "github.com/kmend/kmend/test/pagerduty"
)

// The incident that Alertmanager opened in PagerDuty gets what kmend found as a
// note, once, also when kmend is started again.
func TestPagerDuty(t *testing.T) {
	pd := standin.Start()
	t.Cleanup(func() {
		pd.Close()
		for _, p := range pd.Problems() {
			t.Error(p)
		}
	})
	key := sha256.Sum256([]byte(`{}:{alertname="CheckoutSlow"}`))
	pd.Open(hex.EncodeToString(key[:]), "CheckoutSlow")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pagerduty.token"), []byte(standin.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "pagerduty: {tokenFile: pagerduty.token, from: " + standin.User + ", apiURL: " + pd.URL + "}\n"
	r := runIn(t, dir, config)
	if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook: %d %s", status, body)
	}
	inc := r.list(t, 1)[0]
	until(t, "noted", func() bool { return len(pd.Incidents()[0].Notes) == 1 })
	if n := pd.Incidents()[0].Notes[0]; !strings.HasPrefix(n, "kmend "+inc.ID+": inconclusive\n") || !strings.Contains(n, "does not exist") {
		t.Errorf("the note says %q", n)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = runIn(t, dir, config)
	if status, _ := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook after a restart: %d", status)
	}
	r.list(t, 1)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if n := pd.Incidents()[0].Notes; len(n) != 1 {
		t.Errorf("%d notes after a restart: %q", len(n), n)
	}
}

// Who acknowledges PagerDuty's incident must be able to page.
func TestAcknowledgeNeedsAPager(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"pagerduty.token": standin.Token, "pagerduty.key": standin.RoutingKey,
		"policy.yaml": "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: acts}\npagerduty: {acknowledge: true}\nrules: [{name: all, decide: allow, reason: it may}]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := "listen: 127.0.0.1:0\ndataDir: data\npolicies: [policy.yaml]\npagerduty: {tokenFile: pagerduty.token, from: " + standin.User
	for end, ok := range map[string]bool{"}\n": false, ", routingKeyFile: pagerduty.key}\n": true} {
		c, err := Load(writeConfig(t, dir, config+end))
		if err != nil {
			t.Fatal(err)
		}
		a, err := New(t.Context(), c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "no pagerduty.routingKeyFile") {
			t.Errorf("%s: %v", end, err)
		}
		if err == nil {
			if err := a.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}
