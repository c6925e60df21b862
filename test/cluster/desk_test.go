package cluster

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/test/docs"
	"github.com/kmend/kmend/test/process"
)

// desk is where somebody reads the pages and types what they say: a shell in a clone of
// the repository, with Helm's and Kubernetes' own programs, kmend's built to bin, and the
// cluster in ~/.kube/config.
type desk struct {
	*testing.T
	dir   string
	env   []string
	pages []docs.Page
	typed map[string]bool // programs and their arguments
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	root := filepath.Join(sourceDir(), "..", "..")
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, dir: t.TempDir(), pages: pages, typed: map[string]bool{}}
	kubeconfig, err := os.ReadFile(node.Kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(d.dir, "bin"), 0o755), os.MkdirAll(filepath.Join(d.dir, ".kube"), 0o755),
		os.Symlink(program(t, "kmend"), filepath.Join(d.dir, "bin", "kmend")),
		os.Symlink(filepath.Join(root, "deploy"), filepath.Join(d.dir, "deploy")),
		os.Symlink(filepath.Join(root, "test"), filepath.Join(d.dir, "test"))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(d.dir, ".kube", "config"), string(kubeconfig))
	setup := exec.CommandContext(t.Context(), filepath.Join(root, "test", "setup", "helm"))
	var problems bytes.Buffer
	setup.Stderr = &problems
	tools, err := setup.Output()
	if err != nil { // here is no network: what it downloads has to be there
		t.Fatalf("building Helm and kubectl; run test/setup/helm first: %v\n%s", err, &problems)
	}
	gos, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output() // HOME is another
	if err != nil {
		t.Fatal(err)
	}
	g := strings.Fields(string(gos))
	d.env = append(os.Environ(), "HOME="+d.dir, "KUBECONFIG=", "GOWORK=off", "CGO_ENABLED=0", "NO_COLOR=1", "GOCACHE="+g[0], "GOMODCACHE="+g[1], "GOPATH="+g[2],
		"PATH="+strings.TrimSpace(string(tools))+":"+filepath.Join(d.dir, "bin")+":"+os.Getenv("PATH"))
	return d
}

// types runs what a page shows. others are strings that a reader replaces, and what by.
// It answers with all that was printed.
func (d *desk) types(page, begins string, others ...string) string {
	d.Helper()
	return d.run(d.shown(page, begins), others...)
}

// shown is the block of commands on a page that has a line which begins so, or the
// command within its text.
func (d *desk) shown(page, begins string) string {
	d.Helper()
	for _, p := range d.pages {
		if p.Path == page && p.Shown(begins) != "" {
			return p.Shown(begins)
		}
	}
	d.Fatalf("%s has no command %q", page, begins)
	return ""
}

// What is forwarded is there a moment after the command that does so.
var forward = regexp.MustCompile(`(?m)^.*port-forward svc/\S+ (\d+).*&$`)

// run runs a script; what it leaves in the background ends with it.
func (d *desk) run(script string, others ...string) string {
	d.Helper()
	calls, err := docs.Calls(script)
	if err != nil {
		d.Fatal(err)
	}
	for _, c := range calls {
		d.typed[strings.Join(c, " ")] = true
	}
	script = strings.NewReplacer(others...).Replace(script)
	d.Logf("$ %s", script)
	script = forward.ReplaceAllString(script, "$0\nuntil (: </dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.1; done")
	c := exec.CommandContext(d.Context(), "bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+script)
	c.Dir, c.Env, c.WaitDelay = d.dir, d.env, 5*time.Second
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		d.Fatalf("%v:\n%s", err, out.String())
	}
	d.Log(out.String())
	return out.String()
}

// reads checks what was printed.
func (d *desk) reads(text string, wants ...string) {
	d.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			d.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// eventually waits until what is read has a text.
func (d *desk) eventually(want string, read func() string) {
	d.Helper()
	var last string
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if last = read(); strings.Contains(last, want) {
			return
		}
	}
	d.Fatalf("after 2 minutes nothing says %q:\n%s", want, last)
}

// get is what kmend answers.
func (d *desk) get(c *installation, path string) string {
	d.Helper()
	answer, err := process.HTTPClient().Get("http://" + c.kmend.Status.PodIP + ":9790" + path)
	if err != nil {
		d.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

// file is one at the desk.
func (d *desk) file(name string) string { return filepath.Join(d.dir, name) }

// left are the commands of Helm and kubectl on all pages that nobody typed; three words
// or less only name one.
func (d *desk) left() (out []docs.Command) {
	for _, p := range d.pages {
		commands, err := p.Commands()
		if err != nil {
			d.Fatal(err)
		}
		for _, c := range append(append(commands, p.Synopses("helm")...), p.Synopses("kubectl")...) {
			if (c.Args[0] == "helm" || c.Args[0] == "kubectl") && len(c.Args) > 3 && !d.typed[strings.Join(c.Args, " ")] {
				out = append(out, c)
			}
		}
	}
	return out
}
