// Package c is load in C: threads that contend for the C library's locks, and
// threads that wait for other things and must not be taken for it. It needs a C
// compiler and the C library, so it does not run in test/kernels.
package c

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

//go:embed src/locks.c
var locks []byte

// Locks is the program src/locks.c, compiled for one test.
type Locks struct{ path string }

// BuildLocks compiles it, without frame pointers as distributions do.
func BuildLocks(t *testing.T) Locks {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler and runs in `make test`")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "locks.c"), filepath.Join(dir, "locks")
	if err := os.WriteFile(source, locks, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-O2", "-fomit-frame-pointer", "-Wall", "-o", program, source, "-lpthread", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v: %s", err, out)
	}
	return Locks{program}
}

// Start runs a mode until the test ends and gives its process id. It skips where a
// library that the mode needs is missing.
func (l Locks) Start(t *testing.T, mode string, threads int, hold, rest time.Duration) int {
	t.Helper()
	return l.start(t, exec.Command(l.path, arguments(mode, threads, hold, rest)...))
}

// StartIn runs it in a cgroup directory.
func (l Locks) StartIn(t *testing.T, cgroup, mode string, threads int, hold, rest time.Duration) int {
	t.Helper()
	const enter = `echo $$ >"$0/cgroup.procs" && exec "$@"`
	return l.start(t, exec.Command("/bin/sh", append([]string{"-c", enter, cgroup, l.path}, arguments(mode, threads, hold, rest)...)...))
}

func arguments(mode string, threads int, hold, rest time.Duration) []string {
	return []string{mode, strconv.Itoa(threads), strconv.Itoa(int(hold.Microseconds())), strconv.Itoa(int(rest.Microseconds()))}
}

func (l Locks) start(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready\n"); err != nil {
		const missing = 77
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() == missing {
			t.Skip("needs libsqlite3.so.0 (Debian: libsqlite3-0) and runs in `make test`")
		}
		t.Fatalf("starting %v: %v", cmd.Args, err)
	}
	return cmd.Process.Pid
}
