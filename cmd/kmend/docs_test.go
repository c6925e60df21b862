package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/kmend/kmend/test/docs"
	"github.com/rogpeppe/go-internal/testscript"
)

// documentedCommands are all that the repository's pages show of kmend.
func documentedCommands() (shown, said []docs.Command, err error) {
	pages, err := docs.Pages("../..")
	if err != nil {
		return nil, nil, err
	}
	for _, p := range pages {
		commands, err := p.Commands()
		if err != nil {
			return nil, nil, err
		}
		for _, c := range commands {
			if c.Args[0] == "kmend" {
				shown = append(shown, c)
			}
		}
		said = append(said, p.Synopses("kmend")...)
	}
	return shown, said, nil
}

// Every command that a page shows is one that kmend takes, and where a text only
// names a command and flags, they exist.
func TestDocumentedCommandsExist(t *testing.T) {
	shown, said, err := documentedCommands()
	if err != nil || len(shown) < 15 || len(said) < 15 {
		t.Fatalf("%d commands shown, %d said, %v", len(shown), len(said), err)
	}
	// A new one for each: what one command sets stays in its structs.
	parser := func() *kong.Kong {
		p, err := kong.New(&cli{}, kong.Name("kmend"), kong.BindTo(t.Context(), (*context.Context)(nil)), kong.Bind(&output{}))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range shown {
		if _, err := parser().Parse(typed(c.Args[1:], nil)); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	for _, c := range said {
		if why := docs.Unknown(parser().Model.Node, c.Args[1:]); why != "" {
			t.Errorf("%s: %s", c, why)
		}
	}
}

// shownServer is the pages' kmend; the test has one of its own.
const shownServer = "http://127.0.0.1:9790"

// stand-ins for what a page leaves to its reader: what is typed here in its place.
var standIns = []struct {
	shown *regexp.Regexp
	typed string
}{
	{regexp.MustCompile(`^(ID|\d{8}-\d{6}\.\d{3}-[0-9a-f]+(\.\d+)?)$`), "INCIDENT"},
	{regexp.MustCompile(`^(PATH|/sys/fs/cgroup/.*)$`), "CGROUP"},
	{regexp.MustCompile(`^(PID|4242)$`), "PID"},
	{regexp.MustCompile(`^RUNBOOK$`), "report-cpu-busy"},
	{regexp.MustCompile(`^FILES$`), "cases.yaml"},
	{regexp.MustCompile(`^` + shownServer + `$`), shownServer},
	{regexp.MustCompile(`^DIGEST$`), strings.Repeat("0", 64)},
}

// typed are shown arguments as somebody types them, here values of the test's own.
func typed(args []string, values map[string]string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		for _, s := range standIns {
			if s.shown.MatchString(arg) {
				out[i] = s.typed
				if v := values[s.typed]; v != "" {
					out[i] = v
				} else if s.typed == "PID" {
					out[i] = "4242"
				}
			}
		}
	}
	return out
}

// notHere are commands that this test cannot run, with what does.
var notHere = []struct{ begins, why string }{
	{"kmend serve", "it does not end; every script runs it, and test/acceptance without a configuration"},
	{"kmend certificates ", "it needs a cluster; test/cluster runs it as the chart's Job, internal/certificates asks a real API server"},
	{"kmend doctor --kubeconfig ", "it needs a cluster; test/cluster types it"},
	{"kmend diagnose --pod ", "it needs a container runtime; test/cluster runs it on a node"},
	{"kmend diagnose --cgroup PATH --since ", "it needs an agent that has recorded for minutes; test/acceptance asks one about seconds"},
}

// refused are commands that this test runs in vain, with what they must answer:
// they reach the server, and it knows what it was asked.
var refused = []struct{ begins, answer string }{
	{"kmend approve ", "does not wait for an approval"},
	{"kmend deny ", "does not wait for an approval"},
	{"kmend doctor --server ", "it answers at"}, // what it finds is of this machine
	{"kmend test-alert --pod ", "dry run whatever the server's mode is"},
	{"kmend test-alert --target unit/NODE/", "dry run whatever the server's mode is"},
	{"kmend restore --config kmend.yaml", "which backup?"}, // with PostgreSQL there is none to give
	{"kmend restore --config kmend.yaml kmend.backup", "stop kmend serve first"},
	{"kmend runbook lint checkout.yaml", `checkout.yaml:7:15: match.when: no field "namespce" here; did you mean "namespace"?`},
}

// documented runs every command that the pages show.
func documented(ts *testscript.TestScript, _ bool, _ []string) {
	shown, _, err := documentedCommands()
	ts.Check(err)
	values := map[string]string{"INCIDENT": ts.Getenv("INCIDENT"), "PID": strconv.Itoa(os.Getpid()), "CGROUP": ts.Getenv("CGROUP"), shownServer: ts.Getenv("KMEND_SERVER")}
	ran, failed := map[string]bool{}, 0
	for _, c := range shown {
		line := strings.Join(c.Args, " ")
		begins := func(text string) bool { return strings.HasPrefix(line, text) }
		if slices.ContainsFunc(notHere, func(n struct{ begins, why string }) bool { return begins(n.begins) }) ||
			(begins("kmend diagnose") || strings.Contains(line, "diagnosis.json")) && (os.Geteuid() != 0 || testing.Short()) { // eBPF needs root; make test runs it as root
			continue
		}
		args := typed(c.Args[1:], values)
		if ran[strings.Join(args, " ")] {
			continue
		}
		ran[strings.Join(args, " ")] = true
		var want string
		for _, r := range refused {
			if begins(r.begins) {
				want = r.answer
			}
		}
		program, err := exec.LookPath("kmend")
		ts.Check(err)
		run := exec.Command(program, args...)
		run.Dir = ts.MkAbs(".")
		run.Env = append(os.Environ(), "KMEND_SERVER="+ts.Getenv("KMEND_SERVER"), "KMEND_TOKEN_FILE="+ts.Getenv("KMEND_TOKEN_FILE"), "NO_COLOR=1")
		var out []byte
		if c.Out == "" {
			out, err = run.CombinedOutput()
		} else if out, err = run.Output(); err == nil {
			err = os.WriteFile(ts.MkAbs(c.Out), out, 0o600)
		}
		if err != nil && want == "" || want != "" && !strings.Contains(string(out), want) {
			failed++
			ts.Logf("%s: %v; want %q in\n%s", c, err, want, out)
		}
	}
	if len(ran) < 10 {
		ts.Fatalf("%d commands ran only", len(ran))
	}
	if failed > 0 {
		ts.Fatalf("%d of %d commands that the pages show do not work", failed, len(ran))
	}
}

// ownCgroup is the group of this process.
func ownCgroup() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/" + parts[1]} {
			path := filepath.Join(dir, parts[2])
			if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil {
				return path
			}
		}
	}
	return ""
}
