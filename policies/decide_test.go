package policies

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// measured is when the window of confirmed ended.
var measured = time.Date(2026, 11, 21, 3, 12, 11, 0, time.UTC)

// confirmed is an incident whose plan nothing but a policy can stop.
func confirmed() (incident.Incident, incident.Plan) { return example(measured.Add(time.Second)) }

// testdata/decide/CASE: change.json is merged over the incident and the plan of
// confirmed; policy.yaml is asked, or the shipped one where there is none.
func TestDecide(t *testing.T) {
	for _, dir := range cases(t, "testdata/decide/*") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			path := filepath.Join(dir, "policy.yaml")
			set, err := Builtin()
			if _, missing := os.Stat(path); missing == nil {
				set, err = Load([]string{path})
			}
			if err != nil {
				t.Fatal(err)
			}
			input := struct {
				Now      time.Time
				DryRun   bool
				Incident incident.Incident
				Plan     incident.Plan
			}{Now: measured.Add(time.Second)}
			input.Incident, input.Plan = confirmed()
			if text, err := os.ReadFile(filepath.Join(dir, "change.json")); err == nil {
				dec := json.NewDecoder(strings.NewReader(string(text)))
				dec.DisallowUnknownFields()
				if err := dec.Decode(&input); err != nil {
					t.Fatal(err)
				}
			}
			set = set.WithDryRun(input.DryRun).WithClock(func() time.Time { return input.Now })
			text, err := json.MarshalIndent(set.Decide(input.Incident, input.Plan, Facts{}), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "want.json"), string(text)+"\n")
		})
	}
}

// Without a policy there is a denial, however the set came about.
func TestNoPoliciesDeny(t *testing.T) {
	inc, plan := confirmed()
	loaded, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return measured }
	for name, set := range map[string]*Set{"nil": nil, "zero": (&Set{}).WithClock(clock), "loaded from nothing": loaded.WithClock(clock)} {
		if d := set.Decide(inc, plan, Facts{}); d.Effect != incident.Deny || !d.DryRun || d.Reason != "no policies are loaded" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// conditions are what a generated rule may ask; nil means that it fails.
var conditions = []struct {
	text string
	is   *bool
}{
	{"", yes}, {`target.namespace == "shop"`, yes}, {`finding.share > 0.4 && plan.steps.size() == 1`, yes},
	{`target.namespace == "kube-system"`, no}, {`now < timestamp("2000-01-01T00:00:00Z")`, no},
	{`alert.labels["missing"] == "x"`, nil}, {`incident.alerts[7].status == "firing"`, nil},
}

var yes, no = truth(true), truth(false)

func truth(b bool) *bool { return &b }

// Whatever the policies: deny wins, a failure is a denial, no match is a denial,
// dry run is kept, the answer is never the zero Effect, and what cannot be
// undone is never allowed.
func TestDecideIsConservative(t *testing.T) {
	l, err := newLoader()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		var denied, asked, allowed, dry bool
		for p := range rapid.IntRange(1, 3).Draw(rt, "policies") {
			dryRun := rapid.Bool().Draw(rt, "dryRun")
			fmt.Fprintf(&text, "---\napiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: p%d}\ndryRun: %v\nrules:\n", p, dryRun)
			for r := range rapid.IntRange(1, 4).Draw(rt, "rules") {
				c := rapid.SampledFrom(conditions).Draw(rt, "when")
				effect := rapid.SampledFrom([]incident.Effect{incident.Allow, incident.Deny, incident.RequireApproval}).Draw(rt, "decide")
				fmt.Fprintf(&text, "- {name: r%d, when: '%s', decide: %s, reason: because}\n", r, c.text, effect)
				if c.is != nil && !*c.is {
					continue
				}
				dry = dry || dryRun
				denied = denied || c.is == nil || effect == incident.Deny
				asked = asked || effect == incident.RequireApproval
				allowed = allowed || effect == incident.Allow
			}
		}
		docs, err := document.Parse("p.yaml", []byte(text.String()))
		if err != nil {
			rt.Fatal(err)
		}
		l.policies = nil
		for _, doc := range docs {
			if errs := l.add(doc); len(errs) > 0 {
				rt.Fatal(errs)
			}
		}
		set, err := l.set(nil)
		if err != nil {
			rt.Fatal(err)
		}
		inc, plan := confirmed()
		plan.Steps[0].Irreversible = rapid.Bool().Draw(rt, "irreversible")
		if rapid.Bool().Draw(rt, "unmeasured") {
			plan.Verify = incident.Verify{Unmeasured: "the pod is gone"}
		}
		want := incident.Deny
		switch {
		case denied:
		case asked || allowed && (plan.Irreversible() || plan.Verify.Unmeasured != ""):
			want = incident.RequireApproval
		case allowed:
			want = incident.Allow
		}
		got := set.WithDryRun(false).WithClock(func() time.Time { return measured }).Decide(inc, plan, Facts{})
		if got.Effect != want || got.DryRun != dry || got.Reason == "" || got.Policy == "" {
			rt.Fatalf("%+v, want %s, dry run %v; policies:%s", got, want, dry, text.String())
		}
	})
}
