package expr

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func env(t *testing.T) *Env {
	t.Helper()
	e, err := NewEnv(Plan, Now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func facts() map[string]any {
	d := incident.Diagnosis{Verdict: incident.Confirmed, Ledger: incident.Ledger{States: map[incident.State]float64{incident.Throttled: 5196}}}
	inc := incident.Incident{Diagnosis: &d, Alerts: []incident.Alert{{Labels: map[string]string{"team": "shop"}}}}
	f := Facts(inc, incident.Finding{Cause: incident.CPUThrottled, Share: 0.43}, incident.Target{Namespace: "shop", PID: 7})
	f["plan"] = incident.Plan{Steps: []incident.Step{{Action: "a.b", With: map[string]any{"factor": 2.0}}}}
	f["now"] = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	return f
}

func TestCondition(t *testing.T) {
	e := env(t)
	for text, want := range map[string]bool{
		`finding.cause == "cpu.throttled" && finding.share > 0.4`: true,
		`finding.share > 0`:                                            true, // an int beside a double
		`diagnosis.ledger.states["throttled"] > 1000`:                  true,
		`"nothing" in diagnosis.ledger.states`:                         false,
		`alert.labels["team"] == "shop" && alerts.size() == 1`:         true,
		`incident.diagnosis.verdict == "confirmed"`:                    true,
		`plan.steps.all(s, s.action.startsWith("kubernetes."))`:        false,
		`plan.steps[0].with.factor == 2`:                               true,
		`target.pid == 7 && target.namespace.matches("^sh")`:           true,
		`now.getHours("Europe/Berlin") == 4 && now.getDayOfWeek() > 5`: true,
	} {
		x, issues := e.Condition(text)
		if issues != nil {
			t.Errorf("%s: %v", text, issues)
			continue
		}
		if got, err := x.True(facts()); err != nil || got != want {
			t.Errorf("%s = %v, %v", text, got, err)
		}
	}
}

// Whether the target is what the alert names, or what that waits for.
func TestConditionOnTheWay(t *testing.T) {
	x, issues := env(t).Condition(`has(diagnosis.investigation) && diagnosis.investigation.root > 0`)
	if issues != nil {
		t.Fatal(issues)
	}
	for root, want := range map[int]bool{-1: false, 0: false, 1: true} {
		f := facts()
		if d := f["diagnosis"].(incident.Diagnosis); root >= 0 {
			d.Investigation = &incident.Investigation{Root: root}
			f["diagnosis"] = d
		}
		if got, err := x.True(f); err != nil || got != want {
			t.Errorf("root %d: %v, %v", root, got, err)
		}
	}
}

// What a field or a name is must be known before the first incident.
func TestCompileFindsTheMistake(t *testing.T) {
	e := env(t)
	for _, tc := range []struct{ text, at, want string }{
		{`target.namespce == "x"`, ".namespce", `no field "namespce" here; did you mean "namespace"?`},
		{`finding.Share > 0.1`, ".Share", `did you mean "share"?`},
		{"true &&\n  tgt.pod == \"x\"", "tgt", `unknown name "tgt"; known: incident, target,`},
		{`finding.share * 2 > 1.0`, "* 2", `no matching overload`},
		{`1 +`, "", "ends too early"},
		{`alert.labels.team == 1`, "== 1", "no matching overload"},
		{`finding.share`, "finding", "of type double, want bool"},
		{`"a"`, `"a"`, "of type string, want bool"},
		{strings.Repeat("true && ", 2000) + "true", "", "expression code point size exceeds limit"},
	} {
		_, issues := e.Condition(tc.text)
		if len(issues) == 0 || !strings.Contains(issues[0].Message, tc.want) {
			t.Errorf("%.40s: %v, want %q", tc.text, issues, tc.want)
			continue
		}
		if rest := string([]rune(tc.text)[issues[0].Offset:]); !strings.HasPrefix(rest, tc.at) {
			t.Errorf("%.40s: points at %q, want %q", tc.text, rest, tc.at)
		}
	}
}

// An expression of any length over an incident of any size ends, and soon.
func TestEvalStopsAtTheCostLimit(t *testing.T) {
	labels := map[string]string{}
	for _, a := range "abcdefghij" {
		for _, b := range "abcdefghij" {
			labels[string(a)+string(b)] = strings.Repeat("a", 1000)
		}
	}
	f := Facts(incident.Incident{Alerts: []incident.Alert{{Labels: labels}}}, incident.Finding{}, incident.Target{})
	for _, text := range []string{
		`alert.labels.all(i, alert.labels.all(j, alert.labels.all(k, i + j + k != "")))`,
		`alert.labels.all(i, alert.labels.all(j, alert.labels[i].matches("(a*)*(b|c)?a+") && alert.labels[j].contains("aa")))`,
		`alert.labels.map(i, alert.labels.map(j, alert.labels[i] + alert.labels[j])).size() > 0`,
	} {
		x, issues := env(t).Condition(text)
		if issues != nil {
			t.Fatal(issues)
		}
		start := time.Now()
		_, err := x.True(f)
		if err == nil || !strings.Contains(err.Error(), "cost limit exceeded") {
			t.Errorf("%s: %v", text, err)
		}
		if spent := time.Since(start); spent > 2*time.Second {
			t.Errorf("%s: stopped after %v", text, spent)
		} else {
			t.Logf("stopped after %v", spent)
		}
	}
}

func TestTemplate(t *testing.T) {
	e := env(t)
	for _, tc := range []struct {
		text, kind string
		want       any
	}{
		{"${finding.share * 10.0}", "double", 4.3},
		{"${target.pid}", "int", int64(7)},
		{"${target.pid + 1} of ${target.namespace}", "string", "8 of shop"},
		{"no expression", "string", "no expression"},
		{`${"}"}${{"a": "{"}["a"]}$`, "string", "}{$"},
		{`${plan.steps[0].with.factor}`, "dyn", 2.0},
		{`é${'\'}'}`, "string", "é'}"},
	} {
		x, issues := e.Template(tc.text)
		if issues != nil {
			t.Errorf("%s: %v", tc.text, issues)
			continue
		}
		got, err := x.Eval(facts())
		if err != nil || got != tc.want || x.Type() != tc.kind {
			t.Errorf("%s = %v (%T, type %s), %v", tc.text, got, got, x.Type(), err)
		}
	}
	for text, at := range map[string]int{"é ${target.pd}": 10, "${a": 0, "x ${1} ${tgt}": 9, "${}": 2} {
		if _, issues := e.Template(text); len(issues) == 0 || issues[0].Offset != at {
			t.Errorf("%s: %v, want a mistake at %d", text, issues, at)
		}
	}
}
