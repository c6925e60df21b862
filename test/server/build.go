package server

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Built builds programs of the tree ("kmend", "kmend-agent"), runs the tests of a
// package two folders below its root with the folder that they are in, removes it,
// and returns the tests' exit code.
func Built(m *testing.M, use func(dir string), programs ...string) int {
	dir, err := os.MkdirTemp("", "kmend-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", dir + "/"}
	for _, p := range programs {
		args = append(args, "../../cmd/"+p)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building %v: %v\n%s", programs, err, out)
		return 1
	}
	use(dir)
	return m.Run()
}
