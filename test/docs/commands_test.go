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
	{"helm ", "test/cluster", "it types every one on every page, with Helm itself"},
	{"kubectl ", "test/cluster", "the same, with kubectl itself"},
	{"base64 -d", "test/cluster", "the same"},
	{"openssl rand ", "test/cluster", "the same"},
	{"go run -C test/chart ./render ", "test/cluster", "the same"},
	{"systemd-run ", "remediate/action/systemd", "it types it at a real systemd"},
	{"systemctl ", "remediate/action/systemd", "it types it at a real systemd"},
	{"amtool alert add ", "test/acceptance", "it types it at a real Alertmanager"},
	{"buildah ", "test/release", "it types it, with a real registry"},
	{"go version -m kmend", "test/release", "it reads the Go version of each program"},
	{"go test ", "test/docs", "it is a test itself"},
	{"git checkout ", "", "git's own; what is built then is compared by test/release"},
	{"diff dist/SHA256SUMS ", "test/release", "it compares the sums of two builds"},
	{"head ", "", "of another's output"},
	{"pg_dump ", "internal/store", "it takes the command from the page"},
	{"pg_restore ", "internal/store", "the same"},
	{"curl http://127.0.0.1:9790/readyz", "internal/app", "it asks the same"},
	{"curl -H Authorization: Bearer $TOKEN http://kmend:9790/api/v1/", "internal/app", "it asks the same"},
}

func TestCommands(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
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
				if !slices.ContainsFunc(elsewhere, func(e struct{ begins, by, why string }) bool { return strings.HasPrefix(line, e.begins) }) {
					t.Errorf("%s: no test is known to run it; name one in test/docs", c)
				}
			}
		}
		for _, c := range p.Synopses("make") {
			if why := made(string(makefile), c.Args[1:]); why != "" {
				t.Errorf("%s: %s", c, why)
			}
		}
	}
	for _, e := range elsewhere {
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
