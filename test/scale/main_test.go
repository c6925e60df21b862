package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kmend/kmend/test/throttled"
)

// kmend is the program under test, built by TestMain; kmend-agent is beside it.
var kmend string

func TestMain(m *testing.M) {
	throttled.RunIfAsked()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kmend-scale-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	kmend = filepath.Join(dir, "kmend")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir, "../../cmd/kmend", "../../cmd/kmend-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building kmend: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
