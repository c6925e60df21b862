package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kmend/kmend/internal/app"
)

// docs/actions.md has each action, its example is a step that kmend takes, and what
// it says of undoing is what the code says.
func TestDocumentedActions(t *testing.T) {
	text, err := os.ReadFile("../../docs/actions.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(s, "\n")
		sections[name] = body
	}
	specs, err := app.ActionSpecs()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		said, ok := sections[spec.Name]
		if !ok {
			t.Errorf("no section about %s", spec.Name)
			continue
		}
		if says := strings.Contains(said, "- **Undo**: irreversible."); says != spec.Irreversible {
			t.Errorf("%s: the page says irreversible: %v, the code %v", spec.Name, says, spec.Irreversible)
		}
		_, example, _ := strings.Cut(said, "```yaml\n")
		example, _, _ = strings.Cut(example, "```")
		runbook := "apiVersion: kmend.dev/v1\nkind: Runbook\nmetadata: {name: example}\nmatch: {cause: cpu.throttled}\nsteps:\n" + example
		file := filepath.Join(t.TempDir(), "example.yaml")
		if err := os.WriteFile(file, []byte(runbook), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, stdout, _ := kmend(t, "runbook", "lint", file); status != exitOK || !strings.Contains(example, "action: "+spec.Name+"\n") {
			t.Errorf("%s: its example does not work: %s", spec.Name, stdout)
		}
		delete(sections, spec.Name)
	}
	for name := range sections {
		if regexp.MustCompile(`^[a-z]+\.`).MatchString(name) {
			t.Errorf("there is no action %s", name)
		}
	}
}
