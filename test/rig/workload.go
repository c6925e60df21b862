package rig

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmend/kmend/test/workload/load"
)

// Workload is this binary as the workload, see test/workload/load.
type Workload struct {
	t    *testing.T
	Cmd  *exec.Cmd
	out  *bufio.Reader
	errs bytes.Buffer
	PID  int
}

// Start starts it and returns when its threads run; it ends with the test.
func Start(t *testing.T, args ...string) *Workload {
	t.Helper()
	w := &Workload{t: t, Cmd: exec.Command("/proc/self/exe", args...)}
	w.Cmd.Env = append(os.Environ(), workloadEnv+"=1")
	w.Cmd.Stderr = &w.errs
	pipe, err := w.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Stop() })
	w.out = bufio.NewReader(pipe)
	if _, err := fmt.Fscanf(w.out, "ready %d\n", &w.PID); err != nil {
		t.Fatalf("starting workload %v: %v: %s", args, err, w.errs.String())
	}
	return w
}

// Stop ends the workload and gives what it did.
func (w *Workload) Stop() (s load.Summary) {
	if w.Cmd.ProcessState != nil {
		return s
	}
	_ = w.Cmd.Process.Signal(syscall.SIGTERM)
	return w.Wait()
}

// Wait waits until it ends by itself and gives what it did.
func (w *Workload) Wait() (s load.Summary) {
	line, err := w.out.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &s)
	}
	if err = errors.Join(err, w.Cmd.Wait()); err != nil {
		w.t.Errorf("workload: %v: %s", err, strings.TrimSpace(w.errs.String()))
	}
	return s
}

// ThreadCount is how many threads the process has now.
func (w *Workload) ThreadCount() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", w.PID))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(entries)
}

// BilledMS is the CPU time that the kernel has charged to the process's threads, in ms.
func (w *Workload) BilledMS() (sum float64) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", w.PID))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no schedstat of process %d: %v", w.PID, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		var ns float64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			w.t.Fatalf("%s: %v", file, err)
		}
		sum += ns / 1e6
	}
	return sum
}
