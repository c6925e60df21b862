package policies

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// Whatever a policy file holds: it is refused with a place for each mistake, or it
// decides, with a reason, and allows nothing that kmend itself denies.
func FuzzPolicy(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "testdata/*/*.yaml", "testdata/*/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	l, err := newLoader()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := document.Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		l.policies = nil
		for _, doc := range docs {
			for _, e := range l.add(doc) {
				if e.Line < 1 || e.Message == "" {
					t.Errorf("a mistake without a place or a message: %+v", e)
				}
			}
		}
		set := (&Set{policies: l.policies}).WithDryRun(false).WithClock(func() time.Time { return measured })
		inc, plan := confirmed()
		d := set.Decide(inc, plan, Facts{Scope: incident.Scope{Target: plan.Target.Key()}})
		if d.Reason == "" || d.Policy == "" || d.Effect != incident.Allow && d.Effect != incident.Deny && d.Effect != incident.RequireApproval {
			t.Errorf("no answer: %+v", d)
		}
		if d = set.Decide(inc, plan, Facts{Paused: "by ada"}); d.Effect != incident.Deny {
			t.Errorf("paused and %s", d.Effect)
		}
		inc.Diagnosis.Verdict = incident.Clean
		if d = set.Decide(inc, plan, Facts{}); d.Effect != incident.Deny {
			t.Errorf("clean and %s", d.Effect)
		}
	})
}
