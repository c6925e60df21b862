package cluster

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const holdEnv = "KMEND_CLUSTER_HOLD"

// TestHold is what TestKilledRunLeavesNothing runs and kills.
func TestHold(t *testing.T) {
	if os.Getenv(holdEnv) == "" {
		t.Skip("runs as a part of TestKilledRunLeavesNothing")
	}
	node.Run(t, Burn{Name: "burn", Limit: "200m"})
	os.Stdout.WriteString("HOLDING " + node.Cgroup() + "\n")
	time.Sleep(time.Minute)
}

// A second node beside this one, killed with a pod running: no process of it
// stays, and its cgroups go with the next run.
func TestKilledRunLeavesNothing(t *testing.T) {
	node.Need(t)
	outer := exec.Command("/proc/self/exe", "-test.run=^TestHold$", "-test.v")
	outer.Env = append(os.Environ(), holdEnv+"=1")
	out, err := outer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	outer.Stderr = os.Stderr
	if err := outer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outer.Process.Kill(); _ = outer.Wait() }()
	cgroup := ""
	for s := bufio.NewScanner(out); cgroup == "" && s.Scan(); {
		_, cgroup, _ = strings.Cut(s.Text(), "HOLDING ")
	}
	if cgroup == "" || cgroup == node.Cgroup() {
		t.Fatalf("the second node did not start in a cgroup of its own: %q", cgroup)
	}
	pids := processes(t, cgroup)
	if len(pids) < 2 { // the pod's pause and burn
		t.Fatalf("processes in %s: %v, want those of a pod", cgroup, pids)
	}
	if err := outer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); len(processes(t, cgroup)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("10 s after SIGKILL these live on: %v", processes(t, cgroup))
		}
	}
	_ = outer.Wait()
	next, err := newRun(filepath.Dir(node.dir))
	if err != nil {
		t.Fatal(err)
	}
	defer next.remove()
	// Not by hierarchies(), which may have missed one.
	for _, pattern := range []string{cgroupMount + cgroup, cgroupMount + "/*" + cgroup} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("still there: %v, %v", left, err)
		}
	}
	for _, h := range hierarchies() {
		if !exists(h + node.Cgroup()) {
			t.Errorf("%s%s, the living node's, is gone", h, node.Cgroup())
		}
	}
	node.Need(t) // it has lost none of its servers
}

// processes are those in the cgroup and below.
func processes(t *testing.T, cgroup string) (pids []string) {
	t.Helper()
	root := hierarchies()[0] + cgroup
	_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "cgroup.procs" {
			b, _ := os.ReadFile(path)
			pids = append(pids, strings.Fields(string(b))...)
		}
		return nil
	})
	return pids
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func itoa(n int) string { return strconv.Itoa(n) }
