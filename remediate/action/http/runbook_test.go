package http_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	action "github.com/kmend/kmend/remediate/action/http"
	"github.com/kmend/kmend/runbooks"
)

func load(t *testing.T, with string) (*runbooks.Set, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runbook.yaml")
	text := "apiVersion: kmend.dev/v1\nkind: Runbook\nmetadata: {name: ask}\nmatch: {cause: cpu.busy}\nsteps:\n  - name: ask\n    action: http.request\n    with:\n" + with
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return runbooks.Load([]string{path}, []runbooks.ActionSpec{{Name: action.Name, Params: &action.Params{}}})
}

// From the runbook to the wire: what an alert says stays where the runbook puts it.
func TestARunbookRendersTheRequest(t *testing.T) {
	s := start(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	set, err := load(t, `      url: `+s.URL+`/pods/${urlpart(alert.labels["pod"])}/drain
      body: '{"pod": ${json(alert.labels["pod"])}, "share": ${json(finding.share)}, "finding": ${json(finding.message)}}'
      headers: {X-Namespace: {value: "${target.namespace}"}}
      undo:
        url: `+s.URL+`/pods/${urlpart(alert.labels["pod"])}/undrain
        body: '{"namespace": ${json(target.namespace)}}'
`)
	if err != nil {
		t.Fatal(err)
	}
	target := incident.Target{Namespace: "shop", Cgroup: "/x"}
	inc := incident.Incident{Target: target, Alerts: []incident.Alert{{Labels: map[string]string{"pod": `a/?x", "admin": "yes`}}},
		Diagnosis: &incident.Diagnosis{Verdict: incident.Confirmed, Target: target,
			Findings: []incident.Finding{{Cause: incident.CPUBusy, Verdict: incident.Confirmed, Share: 0.5, Message: "it is \"busy\"\n"}}}}
	for range 2 { // rendering changes nothing in the runbook
		plan, ok, why, err := set.Plan(inc)
		if !ok || err != nil {
			t.Fatal(why, err)
		}
		step := plan.Steps[0]
		p, err := action.NewRequest().Preview(t.Context(), plan.Target, step.With)
		if err != nil {
			t.Fatal(err)
		}
		step.Preview = &p
		done, err := action.NewRequest().Apply(t.Context(), plan.Target, step)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := action.NewRequest().Undo(t.Context(), plan.Target, step, done); err != nil {
			t.Fatal(err)
		}
		part := `a%2F%3Fx%22%2C%20%22admin%22%3A%20%22yes`
		want := []string{
			`POST /pods/` + part + `/drain application/json {"pod": "a/?x\", \"admin\": \"yes", "share": 0.5, "finding": "it is \"busy\"\n"}`,
			`POST /pods/` + part + `/undrain application/json {"namespace": "shop"}`,
		}
		if got := s.requests(); !slices.Equal(got[len(got)-2:], want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
}

// Who is asked and which secret it gets stand in the runbook, and nowhere else.
func TestARunbookMayNotLetAnAlertChooseTheHost(t *testing.T) {
	for with, want := range map[string]string{
		`      url: https://${alert.labels["host"]}/x`:                                  "with.url",
		`      url: ${alert.labels["url"]}`:                                             "with.url",
		`      url: https://h${alert.labels["x"]}.example/x`:                            "with.url",
		`      url: https://user@h/x`:                                                   "with.url",
		"      url: https://h/x\n      caFile: /etc/${target.pod}":                      "with.caFile",
		"      url: https://h/x\n      headers: {A: {valueFile: '/etc/${target.pod}'}}": "with.headers.A.valueFile",
		"      url: https://h/x\n      undo: {url: 'https://${target.pod}/x'}":          "with.undo.url",
		"      url: https://h/x\n      undo: {url: 'https://h/${target.pd}'}":           `no field "pd" here`,
		"      url: https://h/x\n      undo: {urk: 'https://h/x'}":                      `"urk"`,
		"      url: https://h/x\n      expect: ['${target.pid}']":                       "with.expect",
	} {
		if _, err := load(t, with+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", with, err, want)
		}
	}
}
