package policies

import (
	"slices"
	"testing"

	"github.com/kmend/kmend/incident"
)

// testdata/guards holds cases as `kmend policy test` reads them. Every guard has
// one in which it decides and one in which it has no objection.
func TestGuards(t *testing.T) {
	results, err := RunTests([]string{"testdata/guards"})
	if err != nil {
		t.Fatal(err)
	}
	objects, passes := map[string]bool{}, map[string]bool{}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s, %s: %s\n%+v", r.File, r.Case, r.Problem, r.Decision.Answers)
		}
		objects[r.Decision.Rule] = true
		if r.Decision.Wait != "" {
			objects["concurrent"] = true
		}
		for _, a := range r.Decision.Answers {
			passes[a.Rule] = passes[a.Rule] || a.Effect == incident.Allow
		}
	}
	for _, guard := range []string{"autonomy", "evidence", "blastRadius", "rates", "cooldown", "concurrent", "windows", "freezes", "ownership", "headroom", "minReady", "errorBudgets", "breaker"} {
		if !objects[guard] || !passes[guard] {
			t.Errorf("guard %s: a case in which it decides: %v; in which it passes: %v", guard, objects[guard], passes[guard])
		}
	}
}

// A case whose wish is not fulfilled is told, with who decided.
func TestCasesThatFail(t *testing.T) {
	results, err := RunTests([]string{"testdata/failing-cases.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, r := range results {
		problems = append(problems, r.Problem)
	}
	want := []string{
		`effect is "allow", want "deny"; decided by p/all: everything goes`,
		`dryRun is "false", want "true"; policy is "p", want "q"; rule is "all", want "none"; reason is "everything goes", want "…nothing…"; wait is "", want "…room…"`,
		"",
	}
	if !slices.Equal(problems, want) {
		t.Errorf("got %q\nwant %q", problems, want)
	}
}
