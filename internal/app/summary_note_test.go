package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standin "github.com/kmend/kmend/test/llm"
	"github.com/kmend/kmend/test/pagerduty"
)

// A note cannot be edited, so it waits for the model's summary, and for no longer than
// the model may take; also when kmend is started again meanwhile.
func TestSummaryInNote(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after   time.Duration // of the model
		timeout string
		restart bool
		want    string
	}{
		"in time":          {200 * time.Millisecond, "1m", false, "\nSummary by model " + standin.Model + ", checked by kmend:\nverdict inconclusive [w1]"},
		"never":            {time.Hour, "2s", false, "\nSummary by kmend:\n"},
		"kmend is stopped": {time.Hour, "3s", true, "\nSummary by kmend:\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pd := pagerduty.Start()
			t.Cleanup(func() {
				pd.Close()
				for _, p := range pd.Problems() {
					t.Error(p)
				}
			})
			key := sha256.Sum256([]byte(`{}:{alertname="CheckoutSlow"}`))
			pd.Open(hex.EncodeToString(key[:]), "CheckoutSlow")
			s, l := startModel(t, func() string { return written(t, "title: verdict inconclusive [w1]") })
			s.Break(standin.Fault{After: c.after})
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "pagerduty.token"), []byte(pagerduty.Token), 0o600); err != nil {
				t.Fatal(err)
			}
			config := fmt.Sprintf("pagerduty: {tokenFile: pagerduty.token, from: %s, apiURL: %s}\nllm: {provider: openai, model: %s, url: %s, apiKeyFile: %s, timeout: %s}\n",
				pagerduty.User, pd.URL, l.Model, l.URL, l.APIKeyFile, c.timeout)
			r := runIn(t, dir, config)
			if status, body := ask(t, "POST", r.url+"/webhook/alertmanager", "", recorded(t, "firing-cgroup")); status != 204 {
				t.Fatalf("webhook: %d %s", status, body)
			}
			r.list(t, 1)
			until(t, "asked", func() bool { return len(s.Requests()) == 1 })
			if n := pd.Incidents()[0].Notes; c.after > time.Minute && len(n) != 0 {
				t.Errorf("noted while the model writes: %q", n)
			}
			if c.restart {
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r = runIn(t, dir, config)
			}
			until(t, "noted", func() bool { return len(pd.Incidents()[0].Notes) == 1 })
			if n := pd.Incidents()[0].Notes[0]; !strings.Contains(n, c.want) {
				t.Errorf("the note says %q; want %q", n, c.want)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if n := pd.Incidents()[0].Notes; len(n) != 1 {
				t.Errorf("%d notes: %q", len(n), n)
			}
		})
	}
}
