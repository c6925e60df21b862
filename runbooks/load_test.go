package runbooks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmend/kmend/internal/document"
)

// Each file of testdata/bad is wrong in one way or several; NAME.want is the
// whole text of the error.
func TestBadInputSaysWhereWhatAndWhatIsAllowed(t *testing.T) {
	for _, path := range cases(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Load([]string{path}, specs())
			if err == nil {
				t.Fatal("loaded without an error")
			}
			var positioned document.Errors
			if !errors.As(err, &positioned) {
				t.Fatalf("%v is %T, want document.Errors", err, err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".want", err.Error()+"\n")
		})
	}
}

func TestLoadReadsDirectoriesAndManyDocuments(t *testing.T) {
	dir := t.TempDir()
	one := func(name string) string {
		return "apiVersion: kmend.dev/v1\nkind: Runbook\nmetadata: {name: " + name +
			"}\nmatch: {cause: cpu.busy}\nsteps: [{name: s, action: cgroup.set_cpu_quota, with: {max: 1}}]\n"
	}
	write(t, filepath.Join(dir, "b.yaml"), one("b1")+"---\n"+one("b2")+"---\n# the end\n")
	write(t, filepath.Join(dir, "a.yml"), one("a1"))
	write(t, filepath.Join(dir, "notes.txt"), "not a runbook")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub", "c.yaml"), one("c1"))
	set, err := Load([]string{dir}, specs())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range set.books {
		names = append(names, b.Metadata.Name)
	}
	if got := strings.Join(names, " "); got != "a1 b1 b2" {
		t.Errorf("loaded %q, want a1 b1 b2", got)
	}
	write(t, filepath.Join(dir, "c.yaml"), one("b1"))
	_, err = Load([]string{dir}, specs())
	if err == nil || !strings.Contains(err.Error(), `c.yaml:3:18: metadata.name "b1" is taken by the runbook at `+filepath.Join(dir, "b.yaml")+":3") {
		t.Errorf("two runbooks of one name: %v", err)
	}
}

func TestLoadNamesThePathItCouldNotRead(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ path, want string }{
		{filepath.Join(dir, "none.yaml"), "none.yaml: no such file or directory"},
		{dir, "no .yaml or .yml file in this directory"},
		{"/dev/null", "/dev/null: not a regular file"},
	} {
		if _, err := Load([]string{tc.path}, specs()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Load(%s) = %v, want %q", tc.path, err, tc.want)
		}
	}
	big := filepath.Join(dir, "big.yaml")
	write(t, big, strings.Repeat("#", document.MaxFileBytes+1))
	if _, err := Load([]string{big}, specs()); err == nil || !strings.Contains(err.Error(), "at most 262144") {
		t.Errorf("a file of more than %d bytes: %v", document.MaxFileBytes, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
