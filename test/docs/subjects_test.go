package docs

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read is a page's text.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each guard that a policy can have has a section, and none besides.
func TestGuards(t *testing.T) {
	var schema struct {
		Properties struct {
			Guards struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "policies/policy.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema.Properties.Guards.Properties, "when") // says which plans they are for
	want := slices.Sorted(maps.Keys(schema.Properties.Guards.Properties))
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^## ([a-z][a-zA-Z]*)$`).FindAllStringSubmatch(read(t, "docs/guards.md"), -1) {
		got = append(got, m[1])
	}
	if slices.Sort(got); len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("docs/guards.md has %v, policies %v", got, want)
	}
}

// The runbooks that docs/causes.md names for a cause are those that ship for it.
func TestRunbooksOfCauses(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "runbooks/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	shipped := regexp.MustCompile(`(?s)\n  name: (\S+)\n.*?\n  cause: (\S+)\n`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shipped.FindAllStringSubmatch(string(text), -1) {
			want[m[2]] = append(want[m[2]], m[1])
		}
	}
	name := regexp.MustCompile("`([a-z-]+-[a-z-]+)`")
	for _, section := range strings.Split(read(t, "docs/causes.md"), "\n## ")[1:] {
		cause, text, _ := strings.Cut(section, "\n")
		_, text, _ = strings.Cut(text, "\nRunbooks: ")
		text, _, _ = strings.Cut(text, "\n\n")
		var got []string
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if slices.Sort(want[cause]); !slices.Equal(got, want[cause]) {
			t.Errorf("docs/causes.md: %s has the runbooks %v, but %v ship for it", cause, got, want[cause])
		}
		delete(want, cause)
	}
	if len(want) > 0 {
		t.Errorf("docs/causes.md has no section about %v", want)
	}
}
