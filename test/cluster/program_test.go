package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs are those of the tree, built once for all tests.
var programs struct {
	sync.Mutex
	built map[string]string // name -> path
}

// program builds cmd/NAME and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if path, ok := programs.built[name]; ok {
		return path
	}
	path := filepath.Join(node.dir, name) // goes with the run's folder
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./cmd/"+name)
	cmd.Dir, cmd.Env = filepath.Join(sourceDir(), "..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	if programs.built == nil {
		programs.built = map[string]string{}
	}
	programs.built[name] = path
	return path
}
