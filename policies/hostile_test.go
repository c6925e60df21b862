package policies

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// hostile are conditions that would take for ever, or nearly.
var hostile = map[string]string{
	"comprehensions in comprehensions": `alerts.all(a, alerts.all(b, alerts.all(c, alerts.all(d, a.labels != b.labels || c.labels.size() == d.labels.size()))))`,
	"text that doubles":                `alerts.map(a, alerts.map(b, [a.labels["x"] + b.labels["x"]].map(t, (t+t+t+t+t+t+t+t).replace("a", "aaaaaaaaaaaaaaaa")))).size() > 0`,
	"a regular expression":             `alerts.exists(a, a.labels["x"].matches("(a+)+(a+)+(a+)+(a+)+$b"))`,
}

// A policy that costs without end denies, and soon: all of its rules together
// must not hold the responder up.
func TestHostilePoliciesEnd(t *testing.T) {
	for name, condition := range hostile {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			text.WriteString("apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: hostile}\ndryRun: false\nrules:\n- {name: all, decide: allow, reason: agreed}\n")
			for i := range 199 {
				fmt.Fprintf(&text, "- {name: r%d, when: '%s', decide: allow, reason: because}\n", i, condition)
			}
			path := filepath.Join(t.TempDir(), "p.yaml")
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := Load([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			inc, plan := confirmed()
			inc.Alerts = nil
			for i := range 500 {
				inc.Alerts = append(inc.Alerts, incident.Alert{Labels: map[string]string{"x": strings.Repeat("a", 500+i%2)}})
			}
			began := time.Now()
			d := set.WithDryRun(false).WithClock(func() time.Time { return measured }).Decide(inc, plan, Facts{})
			took := time.Since(began)
			t.Logf("%s: %s %s", took, d.Effect, d.Reason)
			if d.Effect != incident.Deny || !strings.Contains(d.Reason, "cost") {
				t.Errorf("%s: %s", d.Effect, d.Reason)
			}
			if took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
