package remediate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate"
)

var update = flag.Bool("update", false, "write the wanted output of the golden cases")

// verifyCase is testdata/verify/CASE/case.yaml.
type verifyCase struct {
	Plan   incident.Plan      `json:"plan"`
	Before incident.Diagnosis `json:"before"`
	After  incident.Diagnosis `json:"after"`
}

func TestVerifyGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/verify/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := readCase(t, filepath.Join(dir, "case.yaml"))
			v := remediate.Verify(c.Plan, c.Before, c.After)
			if v.Diagnosis.Verdict != c.After.Verdict {
				t.Error("the verification does not carry the second diagnosis")
			}
			var out bytes.Buffer
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(map[string]any{
				"cause": v.Cause, "before": v.Before, "after": v.After, "improved": v.Improved, "better": v.Better, "reason": v.Reason}); err != nil {
				t.Fatal(err)
			}
			got := out.Bytes()
			golden := filepath.Join(dir, "want.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func readCase(t *testing.T, path string) (c verifyCase) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = yaml.YAMLToJSON(b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever the numbers are: better means a fall by the margin, in a measurement
// that says something, and a larger share afterwards is never better.
func TestVerifyProperties(t *testing.T) {
	verdicts := []incident.Verdict{incident.Confirmed, incident.Clean, incident.Inconclusive, ""}
	rapid.Check(t, func(t *rapid.T) {
		diagnosis := func(name string) incident.Diagnosis {
			active := rapid.Float64Range(0, 1e6).Draw(t, name+" active")
			throttled := active * rapid.Float64Range(0, 1).Draw(t, name+" share")
			d := incident.Diagnosis{
				Verdict: rapid.SampledFrom(verdicts).Draw(t, name+" verdict"),
				Window:  incident.Window{Seconds: 3},
				Ledger:  incident.Ledger{States: map[incident.State]float64{incident.Throttled: throttled, incident.OnCPU: active - throttled}},
			}
			if d.Verdict == incident.Confirmed {
				d.Findings = []incident.Finding{{Cause: rapid.SampledFrom(incident.Causes()).Draw(t, name+" cause"), Verdict: incident.Confirmed}}
			}
			return d
		}
		before, after := diagnosis("before"), diagnosis("after")
		plan := incident.Plan{Cause: incident.CPUThrottled, Verify: incident.Verify{Improve: rapid.Float64Range(-0.5, 1.5).Draw(t, "improve")}}
		v := remediate.Verify(plan, before, after)
		if v.Reason == "" {
			t.Fatal("no reason")
		}
		if !v.Better {
			return
		}
		if !v.Improved {
			t.Fatalf("better and not improved: %s", v.Reason)
		}
		if _, still := after.Finding(plan.Cause); still || after.Verdict == incident.Inconclusive || after.Verdict == "" {
			t.Fatalf("better with verdict %q: %s", after.Verdict, v.Reason)
		}
		if v.After > v.Before*(1-plan.Verify.Improve)+1e-6 {
			t.Fatalf("better without the margin: %s", v.Reason)
		}
	})
}
