package record

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"

	"github.com/kmend/kmend/incident"
)

// -update rewrites the wanted outputs: look at the difference before you commit it.
var update = flag.Bool("update", false, "rewrite the golden files")

func read(t *testing.T, path string) incident.Incident {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var inc incident.Incident
	if err := json.Unmarshal(text, &inc); err != nil {
		t.Fatal(err)
	}
	return inc
}

func markdown(t *testing.T, inc incident.Incident) string {
	t.Helper()
	var b strings.Builder
	if err := Of(inc).Markdown(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) {
	for _, name := range []string{"fixed", "undone", "reported", "inconclusive", "storm", "flapping"} {
		t.Run(name, func(t *testing.T) {
			got, path := markdown(t, read(t, "../testdata/"+name+"/incident.json")), filepath.Join("testdata", name+".md")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

// soil writes a text into every text of a value.
func soil(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		if !v.IsNil() {
			soil(v.Elem(), text)
		}
	case reflect.Struct:
		for f := range v.Type().Fields() {
			if f.IsExported() {
				soil(v.FieldByIndex(f.Index), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			soil(v.Index(i), text)
		}
	case reflect.Map:
		if v.Type() == reflect.TypeFor[map[string]string]() && !v.IsNil() {
			v.Set(reflect.ValueOf(map[string]string{text: text, "summary": text}))
		}
	}
}

// Hostile text in any field makes no link, no picture, no HTML and no heading, not even with a
// renderer that allows all of it.
func TestHostile(t *testing.T) {
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))
	for _, evil := range []string{
		"<script>x</script> <b>bold</b> & [a](https://evil.example) ![b](https://evil.example/i.png) https://evil.example www.evil.example ada@evil.example",
		"x` [a](https://evil.example) `y `` z ``` w <i>",
		"\n\n# heading\n\n<img src=x>\n\n| a | b |\n|---|---|\n[r]: https://evil.example\n- [x] done", "\\` <u> \\", "|x|\n---",
	} {
		inc := read(t, "../testdata/fixed/incident.json")
		inc.Parent, inc.Trace = &incident.Parent{}, "0af7"
		inc.Summary = &incident.Summary{By: "m", Title: make([]incident.Sentence, 1), FollowUps: []incident.Sentence{{Evidence: []string{"e1"}}}}
		inc.Diagnosis.Investigation = &incident.Investigation{Root: 1, Hops: make([]incident.Hop, 2), Extent: &incident.Extent{}, Observations: make([]incident.Observation, 1),
			Sources: []incident.Source{{Status: incident.SourceFailed}}}
		clean := markdown(t, inc)
		soil(reflect.ValueOf(&inc).Elem(), evil)
		inc.Diagnosis.Investigation.Root = 1
		if inc.Summary.Title[0].Text != evil {
			t.Fatal("no summary")
		}
		got := markdown(t, inc)
		if strings.Count(got, "evil")+strings.Count(got, "<u>")+strings.Count(got, "---") < 10 {
			t.Fatalf("the texts are not there:\n%s", got)
		}
		var out bytes.Buffer
		if err := md.Convert([]byte(got), &out); err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{"<a ", "<img", "<script", "<b>", "<i>", "<u>", "href", "<input checked"} {
			if strings.Contains(strings.ToLower(out.String()), tag) {
				t.Errorf("%.40q makes %s:\n%s", evil, tag, out.String())
			}
		}
		if a, b := strings.Count(clean, "\n#"), strings.Count(got, "\n#"); a != b {
			t.Errorf("%d headings, want %d", b, a)
		}
	}
}

func TestActionItems(t *testing.T) {
	for _, o := range incident.Outcomes() {
		inc := incident.Incident{Outcome: o, Target: incident.Target{Cgroup: "/a"}}
		got := Of(inc).ActionItems
		if want := o != incident.Superseded && o != incident.Reported; (len(got) == 1) != want { // a report has its own
			t.Errorf("%s: %v", o, got)
		}
	}
	inc := incident.Incident{Outcome: incident.Reported, Plan: &incident.Plan{Report: "first\n\n second \n"},
		Diagnosis: &incident.Diagnosis{Investigation: &incident.Investigation{Sources: []incident.Source{{Name: "loki", Status: incident.SourceFailed, Reason: "503"}, {Name: "jaeger", Status: incident.SourceAbsent}}}}}
	if got := strings.Join(Of(inc).ActionItems, "|"); got != "first|second|See why loki did not answer: 503" {
		t.Errorf("items %s", got)
	}
}

// What was looked at on the way is kept, also where the alert's own target is the root; and
// what was written about it.
func TestWayAndSummary(t *testing.T) {
	inc := read(t, "../testdata/fixed/incident.json")
	inc.Trace = "0af7651916cd43dd8448eb211c80319c"
	inc.Summary = &incident.Summary{By: "sage-1", Title: []incident.Sentence{{Text: "cart-1 was throttled", Evidence: []string{"f1", "e1"}}}}
	inc.Diagnosis.Investigation = &incident.Investigation{Hops: []incident.Hop{
		{Target: inc.Target, Verdict: incident.Confirmed, Message: "throttled"},
		{Target: incident.Target{Namespace: "shop", Pod: "ledger-0"}, Verdict: incident.Clean, Message: "nothing found"},
	}}
	got := markdown(t, inc)
	for _, want := range []string{
		"- Trace: `0af7651916cd43dd8448eb211c80319c`\n", "\n## Summary\n\n- `cart-1 was throttled` (`f1 e1`)\n",
		"Written by `sage-1`", "`confirmed`: `throttled`", "2. `pod shop/ledger-0`, `clean`: `nothing found`\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	inc.Diagnosis.Investigation.Hops = inc.Diagnosis.Investigation.Hops[:1]
	if r := Of(inc); r.Way != nil {
		t.Errorf("one hop is a way: %+v", r.Way)
	}
}
