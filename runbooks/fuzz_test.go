package runbooks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// Whatever a runbook file holds: it is refused with a place for each mistake, or it
// plans, with actions that are known only, or says why not.
func FuzzRunbook(f *testing.F) {
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
	files, err := filepath.Glob("testdata/plan/*/incident.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no incidents", err)
	}
	var incidents []incident.Incident
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var inc incident.Incident
		if err := json.Unmarshal(text, &inc); err != nil {
			f.Fatal(err)
		}
		incidents = append(incidents, inc)
	}
	known := map[string]bool{}
	for _, a := range specs() {
		known[a.Name] = true
	}
	l, err := newLoader(specs())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := document.Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		l.books = nil
		for _, doc := range docs {
			for _, e := range l.add(doc) {
				if e.Line < 1 || e.Message == "" {
					t.Errorf("a mistake without a place or a message: %+v", e)
				}
			}
		}
		set, err := l.set(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, inc := range incidents {
			plan, ok, why, _ := set.Plan(inc)
			if !ok && why == "" {
				t.Error("no plan and no reason")
			}
			if ok && inc.Diagnosis.Verdict != incident.Confirmed {
				t.Errorf("a plan for what is %s", inc.Diagnosis.Verdict)
			}
			for _, s := range plan.Steps {
				if !known[s.Action] {
					t.Errorf("action %q", s.Action)
				}
			}
		}
	})
}
