package policies

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// -update rewrites the wanted outputs: look at the difference before you commit it.
var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", path, got, want)
	}
}

func cases(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases match %s (%v)", pattern, err)
	}
	return found
}

// Each file of testdata/bad is wrong in one way or several; NAME.want is the
// whole text of the error.
func TestBadInputSaysWhereWhatAndWhatIsAllowed(t *testing.T) {
	for _, path := range cases(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Load([]string{path})
			var positioned document.Errors
			if !errors.As(err, &positioned) {
				t.Fatalf("%v is %T, want document.Errors", err, err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".want", err.Error()+"\n")
		})
	}
}

// The schema that editors use is the one that the loader checks with.
func TestTheCommittedSchemaIsCurrent(t *testing.T) {
	want, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("policies/policy.schema.json is not what the types say; run: go generate ./cmd/kmend")
	}
}

func TestDryRunIsTheDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	text := "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: p}\nrules: [{name: r, decide: allow, reason: all}]\n"
	for _, tc := range []struct {
		name, text  string
		global, dry bool
	}{
		{"the policy does not say", text, false, true},
		{"the policy says so", text + "dryRun: true\n", false, true},
		{"only the global one", text + "dryRun: false\n", true, true},
		{"neither", text + "dryRun: false\n", false, false},
	} {
		if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
			t.Fatal(err)
		}
		set, err := Load([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		inc, plan := confirmed()
		set = set.WithClock(func() (now time.Time) { return measured })
		if d := set.Decide(inc, plan, Facts{}); !d.DryRun {
			t.Errorf("%s: nobody said WithDryRun(false), and %+v", tc.name, d)
		}
		if d := set.WithDryRun(tc.global).Decide(inc, plan, Facts{}); d.DryRun != tc.dry || d.Effect != incident.Allow {
			t.Errorf("%s: %+v, want allow with dry run %v", tc.name, d, tc.dry)
		}
	}
}

// What the rest of the flow asks a set about all its policies.
func TestSetSaysWhatItAsksFor(t *testing.T) {
	dir := t.TempDir()
	doc := func(name, age, decide string) {
		text := "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: " + name + "}\n" + age +
			"rules:\n- {name: one, decide: allow, reason: r}\n- {name: two, decide: " + decide + ", reason: r}\n"
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(age time.Duration, rules ...string) {
		t.Helper()
		set, err := Load([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := set.MaxEvidenceAge(); got != age {
			t.Errorf("evidence may be %s old; want %s", got, age)
		}
		if got := set.Asking(); strings.Join(got, " ") != strings.Join(rules, " ") {
			t.Errorf("asking: %v; want %v", got, rules)
		}
	}
	doc("a", "", "deny")
	ask(DefaultMaxAge)
	doc("b", "maxEvidenceAge: 1h\n", "require_approval")
	ask(DefaultMaxAge, "b/two")
	doc("c", "maxEvidenceAge: 10m\n", "require_approval")
	ask(10*time.Minute, "b/two", "c/two")
}
