package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kmend/kmend/test/process"
)

// promtool runs Debian's.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	const program = "usr/bin/promtool"
	dir, err := process.Unpacked("prometheus", program)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, program), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// units are promtool's unit tests of a file of rules.
type units struct {
	Tests []struct {
		Name  string `json:"name"`
		Cases []struct {
			EvalTime string `json:"eval_time"`
			Alert    string `json:"alertname"`
			Want     []struct {
				Labels map[string]string `json:"exp_labels"`
			} `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

func readUnits(t *testing.T, path string) (u units) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &u); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return u
}

// unitTested runs the unit tests of rules, and checks that each alert is seen to fire
// and seen not to. The annotations are left out: they would be written twice.
func unitTested(t *testing.T, rulesFile, unitsFile string) {
	t.Helper()
	promtool(t, "check", "rules", rulesFile)
	r := readRules(t, rulesFile)
	var names []string
	for _, g := range r.Groups {
		for i := range g.Rules {
			g.Rules[i].Annotations = nil
			names = append(names, g.Rules[i].Alert)
		}
	}
	dir := t.TempDir()
	text, err := yaml.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(unitsFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rules.yaml": text, "tests.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "test", "rules", filepath.Join(dir, "tests.yaml"))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range readUnits(t, unitsFile).Tests {
		for _, c := range group.Cases {
			if !slices.Contains(names, c.Alert) {
				t.Errorf("%s: there is no alert %s", group.Name, c.Alert)
			}
			if len(c.Want) > 0 {
				fires[c.Alert] = true
			} else {
				quiet[c.Alert] = true
			}
		}
	}
	for _, name := range names {
		if !fires[name] || !quiet[name] {
			t.Errorf("%s: seen to fire: %v, seen to stay quiet: %v; want both", name, fires[name], quiet[name])
		}
	}
}

func TestRulesFireWhenTheyShould(t *testing.T) {
	if testing.Short() {
		t.Skip("needs promtool; `make test` runs it")
	}
	unitTested(t, rulesFile, "testdata/kmend.yaml")
}
