package docs

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	causes := len(want)
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
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile(`\b([0-9]+) (?:\[?causes|things that a kernel can confirm)`).FindAllStringSubmatch(read(t, p.Path), -1) {
			if m[1] != strconv.Itoa(causes) {
				t.Errorf("%s says %q; docs/causes.md has %d", p.Path, m[0], causes)
			}
		}
	}
}

// The words of docs/concepts.md are those of package incident.
func TestConcepts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "incident/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	rows := regexp.MustCompile("(?m)^\\| .* \\| `([A-Z][A-Za-z]*)` \\|$").FindAllStringSubmatch(read(t, "docs/concepts.md"), -1)
	if len(rows) < 20 {
		t.Errorf("%d words found only", len(rows))
	}
	for _, m := range rows {
		if !regexp.MustCompile(`(?m)^type ` + m[1] + ` `).MatchString(code.String()) {
			t.Errorf("docs/concepts.md: package incident has no type %s", m[1])
		}
	}
}

// Every page below docs is in its index.
func TestIndex(t *testing.T) {
	listed := map[string]bool{"docs/README.md": true}
	all := pages(t)
	for _, p := range all {
		if p.Path == "docs/README.md" {
			for _, l := range p.Links {
				to, _, _ := strings.Cut(l.To, "#")
				listed[filepath.Join("docs", to)] = true
			}
		}
	}
	for _, p := range all {
		if strings.HasPrefix(p.Path, "docs/") && !listed[p.Path] {
			t.Errorf("docs/README.md does not list %s", p.Path)
		}
	}
}
