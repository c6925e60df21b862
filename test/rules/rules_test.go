package rules

import (
	"slices"
	"strings"
	"testing"
)

// stages in the order in which an incident passes them. cause and agent are
// folders of diagnose: one stage.
var stages = []string{"webhook", "diagnose", "runbooks", "policies", "remediate", "report"}

func stageOf(path string) string {
	for _, s := range stages {
		if within(path, s) {
			return s
		}
	}
	return ""
}

func TestStagesDoNotImportOneAnother(t *testing.T) {
	for _, s := range stages {
		get(t, s)
	}
	for _, p := range own(t) {
		path, _ := p.path()
		from := stageOf(path)
		if from == "" {
			continue
		}
		for _, dep := range p.Deps {
			d, ok := packages(t)[dep].path()
			switch {
			case !ok:
			case stageOf(d) != "" && stageOf(d) != from:
				t.Errorf("%s (stage %s) depends on %s (stage %s); stages share only package incident", path, from, d, stageOf(d))
			case within(d, "internal/respond"), within(d, "internal/app"), within(d, "internal/store"), within(d, "cmd"):
				t.Errorf("%s (stage %s) depends on %s, which calls the stages", path, from, d)
			}
		}
	}
}

func TestIncidentImportsTheStandardLibraryOnly(t *testing.T) {
	for _, dep := range get(t, "incident").Deps {
		if p := packages(t)[dep]; !p.Standard {
			t.Errorf("incident depends on %s", dep)
		}
	}
}

// Respond declares the interfaces it needs; internal/app hands it the stages.
func TestRespondImportsNoStage(t *testing.T) {
	for _, dep := range get(t, "internal/respond").Deps {
		if d, ok := packages(t)[dep].path(); ok && stageOf(d) != "" {
			t.Errorf("internal/respond depends on %s", d)
		}
	}
}

// Only the agent, and kmend in standalone mode, link the probes.
func TestWhoLinksBPF(t *testing.T) {
	get(t, "bpf/threads")
	allowed := []string{"bpf", "diagnose/agent", "cmd/kmend-agent", "cmd/kmend", "internal/app", "test"}
	for _, p := range own(t) {
		path, _ := p.path()
		if slices.ContainsFunc(allowed, func(dir string) bool { return within(path, dir) }) {
			continue
		}
		for _, dep := range p.Deps {
			if d, ok := packages(t)[dep].path(); ok && within(d, "bpf") || strings.HasPrefix(dep, "github.com/cilium/ebpf") {
				t.Errorf("%s depends on %s; only %s may", path, dep, strings.Join(allowed, ", "))
				break
			}
		}
	}
}

func TestCauseIsPure(t *testing.T) {
	forbidden := []string{"os", "net", "io/fs", "syscall", "os/exec", "log", "log/slog", "math/rand", "math/rand/v2"}
	p := get(t, "diagnose/cause")
	for _, imp := range p.Imports { // fmt itself depends on os
		if slices.Contains(forbidden, imp) || strings.HasPrefix(imp, "net/") {
			t.Errorf("diagnose/cause imports %s", imp)
		}
	}
	for _, dep := range p.Deps {
		if q := packages(t)[dep]; !q.Standard && dep != module+"/incident" {
			t.Errorf("diagnose/cause depends on %s; it may use incident and the standard library", dep)
		}
	}
}

// The agent runs privileged on every node: little else than the probe is in it.
func TestAgentIsSmall(t *testing.T) {
	forbidden := []string{
		// k8s.io/cri-api, how to ask a container runtime, is all of Kubernetes that it needs.
		"k8s.io/client-go", "k8s.io/api/", "k8s.io/apimachinery", "sigs.k8s.io/", "modernc.org/sqlite", "github.com/dbos-inc/", "cel.dev/", "github.com/prometheus/alertmanager",
		module + "/internal/respond", module + "/internal/store", module + "/internal/app",
		module + "/webhook", module + "/runbooks", module + "/policies", module + "/remediate", module + "/report", module + "/diagnose/investigate",
		// What the responder talks to, keeps its record in and reads its files with.
		"github.com/slack-go/", "github.com/PagerDuty/", "github.com/anthropics/", "github.com/redis/", "github.com/jackc/", "github.com/pressly/",
		"go.opentelemetry.io/", "github.com/prometheus/prometheus", "github.com/goccy/", "github.com/yuin/", "github.com/godbus/",
	}
	for _, dep := range get(t, "cmd/kmend-agent").Deps {
		for _, f := range forbidden {
			if strings.HasPrefix(dep, f) {
				t.Errorf("cmd/kmend-agent links %s", dep)
			}
		}
	}
}

func TestNothingImportsTheTests(t *testing.T) {
	for _, p := range own(t) {
		path, _ := p.path()
		if within(path, "test") {
			continue
		}
		for _, dep := range p.Deps {
			if d, ok := packages(t)[dep].path(); ok && within(d, "test") {
				t.Errorf("%s depends on %s", path, d)
			}
		}
	}
}

func TestEveryPackageSaysItsPlace(t *testing.T) {
	for _, p := range own(t) {
		path, _ := p.path()
		if len(p.Doc) < 20 && len(p.written(t)) > 0 {
			t.Errorf("package %s has no doc comment that says its place in the flow", path)
		}
	}
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	for _, p := range own(t) {
		path, _ := p.path()
		for word := range strings.SplitSeq(path, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "pkg", "lib", "shared"}, word) {
				t.Errorf("package %s: %q says nothing; name it for what it provides", path, word)
			}
		}
	}
}

// House style: no init() registration.
func TestNoInitFunctions(t *testing.T) {
	for _, p := range own(t) {
		for name, text := range p.written(t) {
			if strings.Contains("\n"+text, "\nfunc init(") {
				t.Errorf("%s/%s has an init function; registration is explicit here", p.ImportPath, name)
			}
		}
	}
}
