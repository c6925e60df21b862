package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/report"
	"github.com/kmend/kmend/test/rig"
)

const (
	podIncident    = "../../runbooks/testdata/plan/builtin-pod/incident.json"
	cgroupIncident = "../../runbooks/testdata/plan/builtin-cgroup/incident.json"
)

// throttledGroup is a real cgroup with a quota of 0.3 CPU and two loops in it.
func throttledGroup(t *testing.T) *rig.Group {
	t.Helper()
	rig.Root(t)
	root := "/sys/fs/cgroup/cpu"
	if rig.IsV2() {
		root = "/sys/fs/cgroup"
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+cpu"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(root, "kmend-simulate-")
	if err != nil {
		t.Fatal(err)
	}
	g := rig.OpenGroup(t, dir).Quota(0.3)
	if rig.IsV2() { // or a busy machine holds it up more than its quota does
		g.Write("cpu.weight", "2000")
	} else {
		g.Write("cpu.shares", "20480")
	}
	for range 2 {
		loop := exec.Command("sh", "-c", "while :; do :; done")
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = loop.Process.Kill(); _ = loop.Wait() })
		g.Write("cgroup.procs", strconv.Itoa(loop.Process.Pid))
	}
	return g
}

// quotaOf is the group's quota as its file says it.
func quotaOf(t *testing.T, g *rig.Group) string {
	t.Helper()
	file := "cpu.cfs_quota_us"
	if rig.IsV2() {
		file = "cpu.max"
	}
	b, err := os.ReadFile(filepath.Join(g.Path, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// config is a kmend.yaml with two policies that allow everything and one that never matches.
func config(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"kmend.yaml": "apiVersion: kmend.dev/v1\nkind: Config\ndryRun: false\npolicies: [policy.yaml]\n" + more,
		"policy.yaml": `apiVersion: kmend.dev/v1
kind: Policy
metadata: {name: trust}
dryRun: false
rules: [{name: all, decide: allow, reason: it is a test}]
---
apiVersion: kmend.dev/v1
kind: Policy
metadata: {name: polite}
dryRun: false
rules: [{name: too, decide: allow, reason: it is fine}]
---
apiVersion: kmend.dev/v1
kind: Policy
metadata: {name: sundays}
dryRun: false
rules: [{name: rest, when: now.getFullYear() == 1970, decide: deny, reason: it is long ago}]
`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "kmend.yaml")
}

// What kmend diagnose measured on a real group is what simulate reads; the dry run
// is the real one, and the group's quota stays as it is.
func TestSimulateAfterARealDiagnosis(t *testing.T) {
	g := throttledGroup(t)
	status, diagnosis, stderr := diagnoseWith(t, "--cgroup", g.Path, "-o", "json")
	if status != exitOK {
		t.Fatal(stderr)
	}
	file := filepath.Join(t.TempDir(), "diagnosis.json")
	if err := os.WriteFile(file, []byte(diagnosis), 0o600); err != nil {
		t.Fatal(err)
	}
	before := quotaOf(t, g)
	args := []string{"runbook", "simulate", "raise-cpu-limit-cgroup", "--incident", file, "--config", config(t, "")}
	status, stdout, stderr := kmend(t, args...)
	for _, want := range []string{"kmend would act. Nothing was changed.", "0.3 CPU → 0.6 CPU", "dry run: cgroup", "Decision   allow: it is a test (trust: all)", "allow: it is fine (polite: too)", "Silent     sundays: no rule matches"} {
		if status != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("status %d, no %q in\n%s%s", status, want, stdout, stderr)
		}
	}
	_, stdout, _ = kmend(t, append(args, "-o", "json")...)
	var s report.Simulation
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	if s.Kind != "Simulation" || !s.Matches || s.Phase != incident.Executing || s.Taken != "raise-cpu-limit-cgroup" || s.Plan.Steps[0].Preview == nil || len(s.Decision.Answers) != 2 || len(s.Silent) != 1 {
		t.Errorf("%s", stdout)
	}
	if after := quotaOf(t, g); after != before {
		t.Errorf("the quota was %s and is %s", before, after)
	}
}

// A cluster that does not answer, or that nobody can reach from here, is the dry
// run's answer.
func TestSimulateWithoutACluster(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	nothing := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
		"clusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\nusers: [{name: u, user: {token: top-secret}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(nothing), 0o600); err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]string{
		"": "the Kubernetes API is not configured",
		"kubernetes: {enabled: true, kubeconfig: " + kubeconfig + "}\n":       "connection refused",
		"kubernetes: {enabled: true}\nagents: {nodeName: n}\ncluster: prod\n": "outside a cluster set kubernetes.kubeconfig",
	} {
		begin := time.Now()
		status, stdout, stderr := kmend(t, "runbook", "simulate", "raise-cpu-limit-kubernetes", "--incident", podIncident, "-o", "json", "--config", config(t, more))
		var s report.Simulation
		if err := json.Unmarshal([]byte(stdout), &s); err != nil {
			t.Errorf("%s: %v: %s", more, err, stderr)
			continue
		}
		if status != exitOK || len(s.Refused) != 1 || !strings.Contains(s.Refused[0].Error, want) || s.Outcome != incident.Failed || s.Decision == nil || s.Decision.Effect != incident.Deny || s.Decision.Rule != "opt-out" { // the guards do not know the cluster either
			t.Errorf("status %d after %s, want %q in\n%s", status, time.Since(begin), want, stdout)
		}
		if strings.Contains(stdout+stderr, "top-secret") {
			t.Errorf("a secret is shown: %s%s", stdout, stderr)
		}
	}
}

func TestSimulateSaysWhyNot(t *testing.T) {
	dir := t.TempDir()
	book := filepath.Join(dir, "book.yaml")
	text := strings.Replace(strings.Replace(someRunbook, "NAME", "mine", 1), "MAX", "1", 1)
	text = strings.Replace(text, "cause: cpu.throttled", `cause: cpu.throttled, when: 'target.pod == "db"'`, 1)
	if err := os.WriteFile(book, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"report-cpu-busy --incident " + podIncident:                                                                         "runbook report-cpu-busy is for cpu.busy; the confirmed root cause is cpu.throttled",
		"raise-cpu-limit-cgroup --incident " + podIncident:                                                                  `raise-cpu-limit-cgroup: when is false: target.pod == ""`,
		book + " --incident " + podIncident:                                                                                 `mine: when is false: target.pod == "db"`,
		"report-cpu-busy --incident ../../runbooks/testdata/plan/clean/incident.json":                                       "the diagnosis is clean: only a confirmed cause has a runbook",
		"report-lock-user --incident ../../runbooks/testdata/plan/builtin-report-lock-user/incident.json":                   "tell a person what to do",
		"raise-cpu-limit-cgroup --now --incident " + cgroupIncident:                                                         "at most 30m0s is allowed",
		"raise-cpu-limit-cgroup --incident " + cgroupIncident:                                                               "default: show everything else",
		"../../runbooks/report-only.yaml --incident ../../runbooks/testdata/plan/builtin-report-jvm-gc-pause/incident.json": "All Java threads stand still",
	} {
		status, stdout, stderr := kmend(t, append([]string{"runbook", "simulate"}, strings.Fields(args)...)...)
		if flat := strings.Join(strings.Fields(stdout), " "); status != exitOK || stderr != "" || !strings.Contains(flat, want) {
			t.Errorf("%s: status %d, want %q in\n%s%s", args, status, want, stdout, stderr)
		}
	}
}

func TestSimulateErrorsSayWhere(t *testing.T) {
	good, err := os.ReadFile(podIncident)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, by string) string { return strings.Replace(string(good), old, by, 1) }
	for name, tc := range map[string]struct{ text, want string }{
		"cut":          {string(good[:200]), "cut.json:10:32: it is no JSON: unexpected end of JSON input; want an incident (kmend incidents show ID -o json) or a diagnosis"},
		"type":         {change(`"share": 0.433`, `"share": "much"`), "type.json:52:23: diagnosis.findings.share is a string; want a number"},
		"cause":        {change(`"cause": "cpu.throttled"`, `"cause": "cpu.throtled"`), `cause.json:50:18: diagnosis.findings.0.cause is "cpu.throtled"; want one of cpu.throttled, cpu.saturated`},
		"verdict":      {change(`"verdict": "confirmed"`, `"verdict": "sure"`), `verdict.json:47:16: diagnosis.verdict is "sure"; want one of confirmed, clean, inconclusive`},
		"list":         {`{"kind": "IncidentList", "items": []}`, `list.json:1:10: kind is "IncidentList"; want an incident`},
		"else":         {"{}", "else.json:1:1: it has neither an id nor a diagnosis; want an incident"},
		"no-diagnosis": {`{"id": "i1", "target": {"pod": "a"}}`, ""},
	} {
		file := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, stdout, stderr := kmend(t, "runbook", "simulate", "report-cpu-busy", "--incident", file)
		if tc.want == "" {
			if status != exitOK || !strings.Contains(stdout, "the incident has no diagnosis") {
				t.Errorf("%s: status %d\n%s%s", name, status, stdout, stderr)
			}
			continue
		}
		if status != exitError || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: status %d, want %q in\n%s%s", name, status, tc.want, stdout, stderr)
		}
	}
	for args, want := range map[string]string{
		"report-cpu-bussy --incident " + podIncident:        `no runbook "report-cpu-bussy" is loaded; there are: leave-service-on-loss, leave-stolen-node`,
		"./none.yaml --incident " + podIncident:             "reading ./none.yaml: no such file",
		"report-cpu-busy --incident none.json":              "reading none.json: no such file",
		"report-cpu-busy --incident /dev":                   "reading /dev: not a regular file",
		"report-cpu-busy --incident i1 --server " + off:     "is `kmend serve` running?",
		"report-cpu-busy -c none --incident " + podIncident: "reading the configuration",
	} {
		status, stdout, stderr := kmend(t, append([]string{"runbook", "simulate"}, strings.Fields(args)...)...)
		if status != exitError || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, want %q in\n%s%s", args, status, want, stdout, stderr)
		}
	}
	for args, want := range map[string]string{
		"": "which runbook", "report-cpu-busy": "--incident", "report-cpu-busy --incident ../x --timeout 0s": "more than 0s", "a --incident a/b -o xml": "--output",
		"report-cpu-busy --incident $x": "not an incident's ID",
	} {
		if status, _, stderr := kmend(t, append([]string{"runbook", "simulate"}, strings.Fields(args)...)...); status != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, %s; want %q", args, status, stderr, want)
		}
	}
}

// off is a server that nobody runs.
const off = "http://127.0.0.1:1"
