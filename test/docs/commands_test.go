package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Tests run every command that the pages show. kmend's and kmend-agent's own are
// run by the tests of cmd/kmend and cmd/kmend-agent; those of others must begin with
// one of these words, and the tests of the package that is named do the same. Where
// none does, there is the reason.
var elsewhere = []struct{ begins, by, why string }{
	{"go version -m kmend", "test/release", "it reads the Go version of each program"},
	{"go test ", "test/docs", "it is a test itself"},
	{"git checkout ", "", "git's own; what is built then is compared by test/release"},
	{"diff dist/SHA256SUMS ", "test/release", "it compares the sums of two builds"},
	{"head ", "", "of another's output"},
	{"systemd-run ", "", "systemd's own; the tests of remediate/action/systemd start a real systemd and limit units of it"},
	{"systemctl ", "", "systemd's own, as above"},
	{"amtool alert add ", "", "Alertmanager's own; test/acceptance sends such alerts through a real Alertmanager"},
	{"docker buildx build ", "", "there was no Docker where it was written, and docs/release.md says so"},
	{"buildah build ", "test/release", "it builds both images with a real Buildah"},
	{"buildah manifest push ", "", "it needs somebody's registry"},
	{"helm install kmend deploy/chart/kmend ", "test/chart", "it renders the chart with Helm's engine, with the values of the pages' commands"},
	{"helm upgrade kmend deploy/chart/kmend ", "test/chart", "the same"},
	{"helm uninstall kmend ", "", "Helm's own"},
	{"kubectl label namespace kmend ", "", "kubectl's own"},
	{"kubectl -n kmend create secret generic kmend-tokens ", "test/chart", "it knows the Secret's keys, and kmend config check reads them"},
	{"openssl rand ", "", "openssl's own"},
	{"kubectl apply -f deploy/kmend.yaml", "test/chart", "kubeconform and the API's strict decoder read what it is made of"},
	{"kubectl apply -f deploy/rbac", "test/cluster", "it applies the objects of these files to a real API server, in kubectl's order"},
	{"curl http://127.0.0.1:9790/readyz", "internal/app", "it asks the same"},
	{"curl -H Authorization: Bearer $TOKEN http://kmend:9790/api/v1/", "internal/app", "it asks the same"},
}

func TestCommands(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	used, seen := map[string]bool{}, 0
	for _, p := range pages(t) {
		commands, err := p.Commands()
		if err != nil {
			t.Error(err)
		}
		for _, c := range commands {
			seen++
			switch c.Args[0] {
			case "kmend", "kmend-agent":
			case "make":
				if why := made(string(makefile), c.Args[1:]); why != "" {
					t.Errorf("%s: %s", c, why)
				}
			default:
				line := strings.Join(c.Args, " ")
				i := slices.IndexFunc(elsewhere, func(e struct{ begins, by, why string }) bool { return strings.HasPrefix(line, e.begins) })
				if i < 0 {
					t.Errorf("%s: no test is known to run it; name one in test/docs", c)
					continue
				}
				used[elsewhere[i].begins] = true
			}
			if c.Args[0] == "kubectl" {
				applied(t, c)
			}
		}
		for _, c := range p.Synopses("make") {
			if why := made(string(makefile), c.Args[1:]); why != "" {
				t.Errorf("%s: %s", c, why)
			}
		}
	}
	for _, e := range elsewhere {
		if !used[e.begins] && e.begins != "go test " {
			t.Errorf("no page shows %q any more", e.begins)
		}
		if tests, err := filepath.Glob(filepath.Join(root, e.by, "*_test.go")); e.by != "" && (len(tests) == 0 || err != nil) {
			t.Errorf("%q: %s has no tests", e.begins, e.by)
		}
	}
	if seen < 30 {
		t.Errorf("%d commands found only", seen)
	}
}

var goal = regexp.MustCompile(`^[a-z][a-z-]*$`)

// made says what of make's arguments the Makefile does not know.
func made(makefile string, args []string) string {
	for _, arg := range args {
		name, _, variable := strings.Cut(arg, "=")
		switch {
		case variable:
			if !strings.Contains(makefile, "$("+name+")") {
				return "the Makefile does not use " + name
			}
		case goal.MatchString(arg) && !regexp.MustCompile(`(?m)^`+arg+`:`).MatchString(makefile):
			return "the Makefile has no goal " + arg
		}
	}
	return ""
}

// applied checks that what a command applies is in the repository.
func applied(t *testing.T, c Command) {
	t.Helper()
	for i, arg := range c.Args[:len(c.Args)-1] {
		if arg != "-f" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, c.Args[i+1])); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestCommandsOfAPage(t *testing.T) {
	p := Read([]byte("text\n\n    sudo bin/kmend approve ID --plan \\\n      \"$DIGEST\"  # a comment\n    kmend pause [--reason TEXT]\n    other words\n\n" +
		"```\n$ make test X=1 | head -1 >out\nkmend acted\n```\n\n```sh\nkmend version && kmend-agent version\n```\n\nor `kmend route test -c FILE`\n"))
	commands, err := p.Commands()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range append(commands, p.Synopses("kmend")...) {
		got = append(got, c.String()+map[bool]string{true: " >" + c.Out}[c.Out != ""])
	}
	want := []string{
		":3: kmend approve ID --plan $DIGEST", ":9: make test X=1", ":9: head -1 >out", ":14: kmend version", ":14: kmend-agent version",
		":17: kmend route test -c FILE", ":5: kmend pause --reason TEXT",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	makefile := "test: ## Everything.\n\techo $(X)\n"
	for arg, want := range map[string]string{"test": "", "tests": "the Makefile has no goal tests", "X=1": "", "Y=1": "the Makefile does not use Y"} {
		if got := made(makefile, []string{arg}); got != want {
			t.Errorf("make %s: %q, want %q", arg, got, want)
		}
	}
}
