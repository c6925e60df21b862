package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/kmend/kmend"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	Standard   bool
	GoFiles    []string
	Imports    []string // direct
	Deps       []string // all
}

// path is the import path within the module; ok is false outside of it.
func (p pkg) path() (string, bool) {
	if p.ImportPath == module {
		return ".", true
	}
	return strings.CutPrefix(p.ImportPath, module+"/")
}

// written are the texts of the files that a person wrote, by name.
func (p pkg) written(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range p.GoFiles {
		b, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if head, _, _ := strings.Cut(string(b), "\npackage "); !strings.Contains(head, "DO NOT EDIT") {
			out[name] = string(b)
		}
	}
	return out
}

// tree is every package of the module and all they depend on, by import path.
var tree = sync.OnceValues(func() (map[string]pkg, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Name,Doc,Standard,GoFiles,Imports,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, errors.New("go list: " + string(exit.Stderr))
	}
	if err != nil {
		return nil, err
	}
	all := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	all, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// own are the module's packages, sorted.
func own(t *testing.T) []pkg {
	t.Helper()
	var out []pkg
	for _, p := range packages(t) {
		if _, ok := p.path(); ok {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	if len(out) < 10 {
		t.Fatalf("go list found %d packages of the module only", len(out))
	}
	return out
}

// get is a package that must exist: a rule about a package that was renamed
// would hold for ever.
func get(t *testing.T, path string) pkg {
	t.Helper()
	p, ok := packages(t)[module+"/"+path]
	if !ok {
		t.Fatalf("there is no package %s; change the rule with the layout", path)
	}
	return p
}

// within reports whether path is dir or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
