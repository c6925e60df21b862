package runbooks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kmend/kmend/incident"
)

// testdata/plan/CASE/incident.json goes through runbook.yaml, or through the
// shipped runbooks where there is none; want.json is the answer.
func TestPlan(t *testing.T) {
	for _, dir := range cases(t, "testdata/plan/*") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			set := loadCase(t, dir)
			inc := readIncident(t, filepath.Join(dir, "incident.json"))
			before := inc
			var answer struct {
				OK   bool           `json:"ok"`
				Why  string         `json:"why,omitempty"`
				Plan *incident.Plan `json:"plan,omitempty"`
			}
			plan, ok, why, err := set.Plan(inc)
			if err != nil {
				t.Fatal(err)
			}
			if again, _, _, _ := set.Plan(inc); !reflect.DeepEqual(plan, again) || !reflect.DeepEqual(inc, before) {
				t.Error("planning twice gives two plans, or changes the incident")
			}
			answer.OK, answer.Why = ok, why
			if ok {
				answer.Plan = &plan
			}
			text, err := json.MarshalIndent(answer, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "want.json"), string(text)+"\n")
		})
	}
}

func loadCase(t *testing.T, dir string) *Set {
	t.Helper()
	path := filepath.Join(dir, "runbook.yaml")
	set, err := Builtin(specs())
	if _, missing := os.Stat(path); missing == nil {
		set, err = Load([]string{path}, specs())
	}
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func readIncident(t *testing.T, path string) (inc incident.Incident) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&inc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return inc
}

// Whatever the diagnosis: a plan needs a confirmed first finding of its cause,
// and is about the target that was measured.
func TestNoPlanWithoutAConfirmedRootCause(t *testing.T) {
	set, err := Builtin(specs())
	if err != nil {
		t.Fatal(err)
	}
	verdict := rapid.SampledFrom([]incident.Verdict{incident.Confirmed, incident.Clean, incident.Inconclusive, ""})
	cause := rapid.SampledFrom(append(incident.Causes(), ""))
	pod := rapid.SampledFrom([]string{"", "web", "db"})
	rapid.Check(t, func(rt *rapid.T) {
		inc := incident.Incident{Target: incident.Target{Pod: pod.Draw(rt, "alert pod"), Cgroup: "/x"}}
		d := incident.Diagnosis{Verdict: verdict.Draw(rt, "verdict"), Target: incident.Target{Pod: pod.Draw(rt, "pod"), Cgroup: "/x"}}
		for range rapid.IntRange(0, 3).Draw(rt, "findings") {
			d.Findings = append(d.Findings, incident.Finding{Cause: cause.Draw(rt, "cause"), Verdict: verdict.Draw(rt, "finding")})
		}
		if rapid.Bool().Draw(rt, "diagnosed") {
			inc.Diagnosis = &d
		}
		plan, ok, why, err := set.Plan(inc)
		if err != nil || ok == (why != "") {
			rt.Fatalf("ok %v, why %q, err %v", ok, why, err)
		}
		if !ok {
			return
		}
		root, confirmed := inc.Diagnosis.RootCause()
		if !confirmed || root.Cause != plan.Cause || root.Verdict != incident.Confirmed {
			rt.Fatalf("planned %s on %+v", plan.Runbook, d)
		}
		if plan.Target.Differs(d.Target) != "" || plan.Target.Differs(inc.Target) != "" {
			rt.Fatalf("planned for %v, measured %v, alerted %v", plan.Target, d.Target, inc.Target)
		}
	})
}

// Whatever the kernel confirms, somebody is told what to do: each cause has a case
// that the shipped runbooks answer.
func TestEveryCauseHasAShippedRunbook(t *testing.T) {
	answered := map[incident.Cause]string{}
	for _, dir := range cases(t, "testdata/plan/builtin-*") {
		inc := readIncident(t, filepath.Join(dir, "incident.json"))
		if plan, ok, _, _ := loadCase(t, dir).Plan(inc); ok {
			answered[plan.Cause] = plan.Runbook
		}
	}
	for _, c := range incident.Causes() {
		if answered[c] == "" {
			t.Errorf("no testdata/plan/builtin-* has a plan for %s", c)
		}
	}
}

// A report is the last resort: whatever the target is, a shipped runbook that acts
// is taken where it matches, and what ships says what it assumes.
func TestShippedReportsGiveWay(t *testing.T) {
	set, err := Builtin(specs())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range set.books {
		if b.Assumes == "" {
			t.Errorf("runbook %s does not say what it assumes", b.Metadata.Name)
		}
		if (b.report != nil) != (b.Priority == -100) {
			t.Errorf("runbook %s has priority %d", b.Metadata.Name, b.Priority)
		}
		if b.report != nil && b.when != nil {
			t.Errorf("runbook %s has a condition: then some incident of %s has no runbook", b.Metadata.Name, b.Match.Cause)
		}
	}
}
