package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
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
	{"openssl rand ", "", "openssl's own"},
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
	{"helm package deploy/chart/kmend ", "", "Helm's own; test/chart loads and lints the same chart"},
	{"go run -C test/chart ./render ", "test/chart", "it renders the chart with the same function, with the values of its testdata"},
	{"kubectl -n kmend port-forward svc/kmend ", "test/chart", "it knows the Service's name and port by what the installation prints"},
	{"kubectl -n kmend get secret kmend-tokens ", "test/chart", "it knows the Secret's name and key likewise"},
	{"base64 -d", "", "of another's output"},
	{"kubectl apply -f deploy/kmend.yaml", "test/chart", "kubeconform and the API's strict decoder read what it is made of"},
	{"kubectl apply -f deploy/rbac", "test/cluster", "it applies the objects of these files to a real API server, in kubectl's order"},
	{"kubectl -n kmend scale statefulset/kmend ", "test/cluster", "it does so with the real API server"},
	{"kubectl -n kmend wait --for=delete ", "test/cluster", "it waits for the same"},
	{"kubectl -n kmend run kmend-restore ", "test/cluster", "it makes the pod of the page's overrides and streams a backup into it"},
	{"pg_dump ", "internal/store", "it takes the command from the page"},
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
			switch c.Args[0] {
			case "kubectl":
				applied(t, c)
			case "helm":
				for _, key := range set(c.Args) {
					if why := valued(values(t), key); why != "" {
						t.Errorf("%s: %s", c, why)
					}
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

// set are the values that a command of Helm sets.
func set(args []string) (keys []string) {
	for i, arg := range args[:len(args)-1] {
		if strings.HasPrefix(arg, "--set") {
			key, _, _ := strings.Cut(args[i+1], "=")
			keys = append(keys, key)
		}
	}
	return keys
}

// values are the chart's.
func values(t *testing.T) (values any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "deploy/chart/kmend/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// valued says why the chart has not a value; what is below {} is free.
func valued(values any, key string) string {
	for name := range strings.SplitSeq(key, ".") {
		m, ok := values.(map[string]any)
		if ok && len(m) == 0 {
			return ""
		}
		if values, ok = m[name]; !ok {
			return "the chart has no value " + key
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
	chart := map[string]any{"actions": map[string]any{"scale": false}, "policies": map[string]any{}}
	for _, key := range set(strings.Fields("helm upgrade kmend --set actions.scale=true --set-file policies.mine=x --set actions.scald=true --wait")) {
		if why := valued(chart, key); (why != "") != (key == "actions.scald") {
			t.Errorf("--set %s: %q", key, why)
		}
	}
	makefile := "test: ## Everything.\n\techo $(X)\n"
	for arg, want := range map[string]string{"test": "", "tests": "the Makefile has no goal tests", "X=1": "", "Y=1": "the Makefile does not use Y"} {
		if got := made(makefile, []string{arg}); got != want {
			t.Errorf("make %s: %q, want %q", arg, got, want)
		}
	}
}
