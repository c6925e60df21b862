package app

import (
	"crypto/sha256"
	"encoding/hex"
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
