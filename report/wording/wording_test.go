package wording

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func must(t *testing.T, text string, f Form) *Template {
	t.Helper()
	parsed, err := Parse("head.tmpl", text, f)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestRender(t *testing.T) {
	got, err := must(t, `<https://wiki.example.com/{{.Cause}}|*{{.Cause}}*> <!subteam^S1> {{.Alert}} of {{index .Labels "team"}}: {{join ", " .Path}}
{{range .Steps}}- {{.}}
{{else}}nothing to do
{{end}}{{if and .Acted (not .Open)}}{{.Verification}}{{end}}{{default "nobody" .Extent}} {{index .Labels "absent"}}`, Slack()).Render(sample())
	want := "<https://wiki.example.com/cpu.throttled|*cpu.throttled*> <!subteam^S1> RequestsSlow of shop: pod shop/web-1, pod shop/cart-1/app\n" +
		"- raise the CPU limit: 0.3 CPU → 0.6 CPU\nthrottled 43% before, 1% after7 of 40 pods, all on n1"
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// The sample has every field, so that every branch of a template is tried at the start.
func TestSampleIsFull(t *testing.T) {
	v := reflect.ValueOf(viewOf(sample(), escapeText))
	for f := range v.Type().Fields() {
		if v.FieldByIndex(f.Index).IsZero() && f.Name != "Waiting" && f.Name != "Open" {
			t.Errorf("the sample has no %s", f.Name)
		}
	}
	page, err := os.ReadFile("../../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fields() {
		if !strings.Contains(string(page), "`."+name+"`") {
			t.Errorf("docs/templates.md does not explain .%s", name)
		}
	}
}

// What is hostile stays text, whatever the template puts around it.
func TestHostile(t *testing.T) {
	evil := "<!channel> <@U1> <https://evil.example|ok> *bold* `code` ~gone~ |x\n*Verdict* confirmed\x1b[31m \u202e&lt;"
	inc := sample()
	inc.Target.Pod, inc.Diagnosis.Target.Pod, inc.Reason, inc.Alerts[0].Labels, inc.Alerts[0].Annotations["summary"] = evil, evil, evil, map[string]string{"alertname": evil, evil: evil, "team": evil}, evil
	inc.Diagnosis.Findings[0].Message, inc.Plan.Runbook, inc.Approvals[0].By, inc.Decisions[0].Reason, inc.Executions[0].After = evil, evil, evil, evil, evil
	inc.Diagnosis.Investigation.Hops[1].Target.Pod, inc.Diagnosis.Investigation.Extent.Message, inc.Plan.Steps[0].Preview.Summary = evil, evil, evil
	all := "{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}{{join \" \" .Path}}{{join \" \" .Steps}}{{join \" \" .Answers}}{{join \" \" .Executions}}"
	for _, f := range fields() {
		if !strings.Contains("Labels Path Steps Answers Executions Evidence Alerts Waiting Open Acted", f) {
			all += "{{." + f + "}} "
		}
	}
	for name, f := range map[string]Form{"slack": Slack(), "pagerduty": PagerDuty(), "text": Text()} {
		f.max = 1 << 20
		got, err := must(t, all, f).Render(inc)
		if err != nil || !strings.Contains(got, "channel") {
			t.Fatalf("%s: %v: %.100q", name, err, got)
		}
		bad := "\n\x1b\u202e"
		if name == "slack" {
			bad += "<>*`~|"
		}
		if i := strings.IndexAny(got, bad); i >= 0 {
			t.Errorf("%s: %q in %.60q", name, got[i], got[i:])
		}
	}
	got, err := must(t, `<https://wiki.example.com/{{index .Labels "team"}}|wiki>`, Slack()).Render(inc)
	if err != nil || strings.Count(got, "<") != 1 || strings.Count(got, "|") != 1 || !strings.HasSuffix(got, "|wiki>") {
		t.Errorf("%v: %q", err, got)
	}
}

// A template ends, soon, and says no more than fits.
func TestBounds(t *testing.T) {
	inc := sample()
	for range 5000 {
		inc.Plan.Steps = append(inc.Plan.Steps, incident.Step{Action: strings.Repeat("<ü", 5000)})
		inc.Alerts = append(inc.Alerts, inc.Alerts[0])
	}
	began := time.Now()
	got, err := must(t, `{{range .Steps}}{{range $.Alerts}}{{join "" $.Steps}}{{end}}{{end}}`, Slack()).Render(inc)
	if err != nil || len(got) > MaxSlack+len("…") || !strings.HasSuffix(got, ";…") && !strings.HasSuffix(got, "ü…") || time.Since(began) > 5*time.Second {
		t.Errorf("%v: %d bytes in %s, ending in %q", err, len(got), time.Since(began), got[max(0, len(got)-20):])
	}
	if silent := must(t, `{{range .Steps}}{{range $.Alerts}}{{if eq . "x"}}y{{end}}{{end}}{{end}}`, Slack()); silent != nil {
		if _, err := silent.Render(inc); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"a\n{{.Alert":                         "head.tmpl:2: unclosed action",
		"a\n  {{.Alrt}}":                      "head.tmpl:2:4: there is no field .Alrt; known: .ID",
		"{{if .Open}}x{{else}}{{.No}}{{end}}": "there is no field .No",
		"{{range 1000000000}}{{end}}":         "head.tmpl:1:8: range goes over 1000000000; want one of .Alerts",
		"{{range .Labels.x}}{{end}}":          "range goes over",
		"{{range .Steps}}{{range $.Steps}}{{range $.Steps}}{{end}}{{end}}{{end}}": "a loop in a loop in a loop",
		`{{printf "%1000000d" 1}}`:       `head.tmpl:1:2: function "printf" is not allowed; allowed: and, default`,
		`{{.Alert | html}}`:              `function "html" is not allowed`,
		`{{if (slice .Alert 1)}}{{end}}`: `function "slice" is not allowed`,
		`{{nothing}}`:                    `function "nothing" not defined`,
		`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`: "define and block are not allowed",
		`{{template "head.tmpl"}}`:                              "template is not allowed",
		`{{index .Steps 7}}`:                                    "index out of range",
		`{{.Alert.Name}}`:                                       "can't evaluate field Name",
	} {
		if _, err := Parse("head.tmpl", text, Slack()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	big := filepath.Join(t.TempDir(), "big.tmpl")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{big: "more than 16384 bytes", "testdata/absent.tmpl": "no such file"} {
		if _, err := Load(path, Text()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
