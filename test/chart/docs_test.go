package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/strvals"
)

// The values that the pages' commands set are values of the chart: each command is read as
// Helm reads it, and rendered.
func TestCommandsOfTheDocs(t *testing.T) {
	commands := map[string]string{}
	notes, err := DefaultRelease().Templates(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"NOTES.txt": strings.ReplaceAll(notes["NOTES.txt"], "\\\n", " ")}
	for _, page := range []string{"docs/install.md", "deploy/chart/kmend/README.md"} {
		b, err := os.ReadFile(filepath.Join(Root(), page))
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(b)
	}
	for page, text := range texts {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "helm ") || strings.HasPrefix(line, "--set") {
				commands[line] = page
			}
		}
	}
	sets := 0
	for line, page := range commands {
		values, words := map[string]any{}, strings.Fields(strings.ReplaceAll(line, `\\`, `\`))
		for i, word := range words[:len(words)-1] {
			var err error
			switch word {
			case "--set":
				err = strvals.ParseInto(words[i+1], values)
				sets++
			case "--set-file":
				err = strvals.ParseIntoFile(words[i+1], values, func([]rune) (any, error) { return "the file's text", nil })
				sets++
			}
			if err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
		}
		if _, err := DefaultRelease().Manifests(t.Context(), values); err != nil {
			t.Errorf("%s: %s: %v", page, line, err)
		}
	}
	if len(commands) < 6 || sets < 8 {
		t.Errorf("%d commands with %d values were found", len(commands), sets)
	}
}
