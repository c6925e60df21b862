package cause

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
)

const page = "../../docs/causes.md"

// thresholds are the constants of thresholds.go.
func thresholds(t *testing.T) map[string]float64 {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "thresholds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		value, err := strconv.ParseFloat(spec.Values[0].(*ast.BasicLit).Value, 64)
		if err != nil {
			t.Fatalf("%s: %v", spec.Names[0], err)
		}
		out[spec.Names[0].Name] = value
		return true
	})
	return out
}

var (
	row     = regexp.MustCompile("(?m)^\\| .* \\| ([^|]*) \\| `([a-zA-Z]+)` \\|$")
	section = regexp.MustCompile(`(?m)^## ([a-z]+\.[a-z_]+)$`)
	figure  = regexp.MustCompile(`^([0-9.]+)(%| ms| ms in 3 s| s| wakes| segments| pages in 3 s)?$`)
	code    = regexp.MustCompile("`([a-z]+)`")
)

// The figures of docs/causes.md are the code's, and none of the code's is missing.
func TestDocumentedThresholds(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	left := thresholds(t)
	if len(left) < 40 {
		t.Fatalf("%d thresholds in the code only", len(left))
	}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		written, name := figure.FindStringSubmatch(m[1]), m[2]
		want, ok := left[name]
		if written == nil || !ok {
			t.Errorf("%q of %s is no figure, or the code has no such threshold (or the page has it twice)", m[1], name)
			continue
		}
		delete(left, name)
		got, _ := strconv.ParseFloat(written[1], 64)
		if written[2] == "%" {
			got /= 100
		}
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("%s is %s on the page and %v in the code", name, m[1], want)
		}
	}
	for name := range left {
		t.Errorf("%s does not say %s", page, name)
	}
}

// Every cause has a section, which names the probes that it needs.
func TestDocumentedCauses(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	at := section.FindAllStringSubmatchIndex(string(text), -1)
	var found []incident.Cause
	for i, m := range at {
		c := incident.Cause(text[m[2]:m[3]])
		found = append(found, c)
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		said := string(text[m[0]:end])
		_, probes, _ := strings.Cut(said, "\nProbes: ")
		probes, _, _ = strings.Cut(probes, ".")
		for probe, causes := range needs {
			if slices.Contains(causes, c) != slices.ContainsFunc(code.FindAllStringSubmatch(probes, -1), func(m []string) bool { return m[1] == probe }) && len(causes) > 0 {
				t.Errorf("%s: its probes are %q; %s needed: %v", c, probes, probe, slices.Contains(causes, c))
			}
		}
		for _, part := range []string{"Not to be taken for: ", "By hand: ", "Runbooks: `", "report-" + strings.NewReplacer(".", "-", "_", "-").Replace(string(c)) + "`"} {
			if !strings.Contains(said, part) {
				t.Errorf("%s: nothing says %q", c, part)
			}
		}
	}
	want := incident.Causes()
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("the page has %v, the code %v", found, want)
	}
}
