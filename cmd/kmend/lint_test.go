package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kmend runs the program in-process.
func kmend(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &output{Stdout: &out, Stderr: &err})
	return status, out.String(), err.String()
}

func TestLintOfWhatShips(t *testing.T) {
	status, stdout, stderr := kmend(t, "runbook", "lint", "../../runbooks")
	var want string
	for _, name := range []string{"leave-service-on-loss", "leave-stolen-node", "raise-autoscaler-maximum", "raise-cpu-limit-cgroup", "raise-cpu-limit-kubernetes",
		"raise-memory-limit-after-oom-kubernetes", "raise-memory-limit-kubernetes", "raise-memory-limit-systemd", "report-only", "scale-out"} {
		count := map[string]string{"report-only": "13 runbooks"}[name]
		want += "../../runbooks/" + name + ".yaml: ok (" + cmp.Or(count, "1 runbook") + ")\n"
	}
	if status != exitOK || stdout != want || stderr != "" {
		t.Errorf("runbook lint: status %d\n%s%s", status, stdout, stderr)
	}
	status, stdout, _ = kmend(t, "policy", "lint", "../../policies/default.yaml")
	if status != exitOK || stdout != "../../policies/default.yaml: ok (1 policy)\n" {
		t.Errorf("policy lint: status %d\n%s", status, stdout)
	}
}

const someRunbook = `apiVersion: kmend.dev/v1
kind: Runbook
metadata: {name: NAME}
match: {cause: cpu.throttled}
steps: [{name: raise, action: cgroup.set_cpu_quota, with: {max: MAX}}]
`

func runbookFile(t *testing.T, file, name, most string) {
	t.Helper()
	text := strings.NewReplacer("NAME", name, "MAX", most).Replace(someRunbook)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every action of a cluster is known, with its parameters.
func TestLintOfActionsOnACluster(t *testing.T) {
	t.Chdir(t.TempDir())
	steps := []string{
		"kubernetes.resize_memory, with: {max: 2Gi, factor: 1.5, template: true, timeout: 5m}", "kubernetes.evict_pod", "kubernetes.drain_node, with: {timeout: 20m}",
		"kubernetes.cordon_node, with: {node: \"${target.node}\"}", "kubernetes.uncordon_node", "kubernetes.scale, with: {by: 2, max: 6}", "kubernetes.raise_hpa_max, with: {max: 20}",
		"kubernetes.rollout_restart", "kubernetes.rollout_undo, with: {kind: Deployment, name: web}", "kubernetes.label, with: {object: pod, key: look, value: here}",
		"kubernetes.taint_node, with: {key: slow}", "kubernetes.leave_service", "kubernetes.set_config, with: {name: flags, key: model, value: small}",
		"kubernetes.point_service, with: {name: cache, selector: {app: standby}}", "kubernetes.shift_traffic, with: {name: front, weights: {stable: 100, canary: 0}}",
		"kubernetes.run_job, with: {cronJob: cleanup, timeout: 10m}",
	}
	text := "apiVersion: kmend.dev/v1\nkind: Runbook\nmetadata: {name: all}\nmatch: {cause: cpu.throttled}\nsteps:\n"
	for i, s := range steps {
		text += fmt.Sprintf("  - {name: s%d, action: %s}\n", i, s)
	}
	if err := os.WriteFile("all.yaml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, stdout, _ := kmend(t, "runbook", "lint", "all.yaml"); status != exitOK {
		t.Errorf("status %d\n%s", status, stdout)
	}
	wrong := strings.NewReplacer("by: 2", "buy: 2", "{key: slow}", "{key: slow, effect: NoExecute}", "timeout: 20m", "timeout: soon").Replace(text)
	if err := os.WriteFile("all.yaml", []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stdout, _ := kmend(t, "runbook", "lint", "all.yaml")
	for _, want := range []string{"buy", "effect", "timeout"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("nothing about %s in:\n%s", want, stdout)
		}
	}
}

func TestLintPrintsEveryErrorAndExits1(t *testing.T) {
	t.Chdir(t.TempDir())
	runbookFile(t, "good.yaml", "one", "500m")
	runbookFile(t, "taken.yaml", "one", "2")
	runbookFile(t, "wrong.yaml", "two", "much")
	status, stdout, stderr := kmend(t, "runbook", "lint", "good.yaml", "taken.yaml", "wrong.yaml")
	if status != exitError || stderr != "kmend: 2 of 3 files wrong\n" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	want := `good.yaml: ok (1 runbook)
taken.yaml:3:18: metadata.name "one" is taken by the runbook at good.yaml:3
    3 | metadata: {name: one}
      |                  ^
wrong.yaml:5:65: steps[0].with.max is "much"; want a number, more than 0, at most 100000; or text, matching ^[0-9]+(\.[0-9]+)?m?$
    5 | steps: [{name: raise, action: cgroup.set_cpu_quota, with: {max: much}}]
      |                                                                 ^
`
	if stdout != want {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}

	status, stdout, _ = kmend(t, "runbook", "lint", "-o", "json", "good.yaml", "wrong.yaml")
	var report lintReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if status != exitError || report.OK || len(report.Files) != 2 || !report.Files[0].OK || report.Files[0].Documents != 1 ||
		report.Files[1].OK || report.Files[1].Errors[0].Line != 5 || report.Files[1].Errors[0].Column != 65 {
		t.Errorf("status %d\n%s", status, stdout)
	}
}

func TestLintOfNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	if status, _, stderr := kmend(t, "policy", "lint", "none.yaml"); status != exitError || !strings.Contains(stderr, "reading none.yaml: no such file or directory") {
		t.Errorf("status %d, %q", status, stderr)
	}
	if status, _, stderr := kmend(t, "policy", "lint"); status != exitUsage || !strings.Contains(stderr, "<files>") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// The schemas that editors use are what the program checks with.
func TestTheCommittedSchemasAreCurrent(t *testing.T) {
	for _, noun := range []string{"runbook", "policy"} {
		dir := map[string]string{"runbook": "runbooks", "policy": "policies"}[noun]
		committed, err := os.ReadFile(filepath.Join("..", "..", dir, noun+".schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		status, stdout, stderr := kmend(t, noun, "schema")
		if status != exitOK || stdout != string(committed) {
			t.Errorf("%s/%s.schema.json is not what the types say (status %d %s); run: go generate ./cmd/kmend", dir, noun, status, stderr)
		}
	}
}

// What the documentation shows as a whole document works.
func TestTheExamplesOfTheDocumentationWork(t *testing.T) {
	for name, want := range map[string]int{"runbooks.md": 3, "policies.md": 3, "guards.md": 1} {
		path, noun := filepath.Join("..", "..", "docs", name), "policy"
		if name == "runbooks.md" {
			noun = "runbook"
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found, dir := 0, t.TempDir()
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			example, _, _ := strings.Cut(block, "```")
			name, verb := "example.yaml", "lint"
			if strings.HasPrefix(example, "# policy.yaml\n") {
				name = "policy.yaml" // that the cases after it are for
			}
			if strings.Contains(example, "\nkind: PolicyTest\n") {
				verb = "test"
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(example), 0o644); err != nil {
				t.Fatal(err)
			}
			if status, stdout, stderr := kmend(t, noun, verb, file); status != exitOK {
				t.Errorf("%s: an example does not work: %s%s", path, stdout, stderr)
			}
			found++
		}
		if found != want {
			t.Errorf("%s has %d examples, want %d", path, found, want)
		}
	}
}
