package agent

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
)

// lab makes real cgroups with real load in them. Other work on the machine must
// not decide a test, so a group's weight is chosen far above everyone else's.
type lab struct {
	t    *testing.T
	node *cgroups.Node
	cpu  cgroups.Mount
	root string // directory of this test in the cpu hierarchy
}

// heavy is twenty times the weight of the rest of the machine: much more starves
// the kernel's own threads, RCU among them, and then attaching takes minutes.
const heavy = 20480

// needsKernel skips a test where it cannot measure.
func needsKernel(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for cgroups and eBPF; make test runs it as root")
	}
	if err := threads.Supported(); err != nil {
		t.Fatalf("this kernel cannot run the probe: %v", err)
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	needsKernel(t)
	node, err := cgroups.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	cpu, ok := node.CPU()
	if !ok {
		t.Fatal("no cpu hierarchy")
	}
	l := &lab{t: t, node: node, cpu: cpu}
	if cpu.V2 {
		l.write(cpu.Dir, "cgroup.subtree_control", "+cpu")
	}
	l.root = l.make(filepath.Join(cpu.Dir, fmt.Sprintf("kmend-agent-%d", os.Getpid())))
	l.weight(l.root, heavy)
	l.joinIn()
	return l
}

// joinIn gives the agent, which is this process, the weight of the load: it must
// not starve beside it.
func (l *lab) joinIn() {
	self := l.make(l.root + "-agent")
	l.weight(self, heavy)
	pid := strconv.Itoa(os.Getpid())
	l.write(self, "cgroup.procs", pid)
	l.t.Cleanup(func() { l.write(l.cpu.Dir, "cgroup.procs", pid) })
}

// make makes a directory of a hierarchy and removes it at the end of the test.
func (l *lab) make(dir string) string {
	l.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		var err error
		for range 100 { // its last process has been waited for, but may not have left it yet
			if err = os.Remove(dir); err == nil || os.IsNotExist(err) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.t.Errorf("removing %s: %v", dir, err)
	})
	return dir
}

// group makes a child with a weight (1024 is normal) and a quota in CPUs (0: none).
func (l *lab) group(name string, weight int, quota float64) string {
	l.t.Helper()
	if l.cpu.V2 {
		l.write(l.root, "cgroup.subtree_control", "+cpu")
	}
	dir := l.make(filepath.Join(l.root, name))
	l.weight(dir, weight)
	l.quota(dir, quota)
	return dir
}

func (l *lab) weight(dir string, weight int) {
	if l.cpu.V2 {
		l.write(dir, "cpu.weight", strconv.Itoa(min(10000, max(1, weight*100/1024))))
		return
	}
	l.write(dir, "cpu.shares", strconv.Itoa(weight))
}

func (l *lab) quota(dir string, cpus float64) {
	if cpus == 0 {
		return
	}
	us := int(cpus * 100000)
	if l.cpu.V2 {
		l.write(dir, "cpu.max", fmt.Sprintf("%d 100000", us))
		return
	}
	l.write(dir, "cpu.cfs_period_us", "100000")
	l.write(dir, "cpu.cfs_quota_us", strconv.Itoa(us))
}

func (l *lab) write(dir, file, value string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// load starts the workload in the directories and returns when it runs.
func (l *lab) load(dirs []string, args ...string) *os.Process {
	l.t.Helper()
	for _, d := range dirs {
		args = append(args, "-cgroup", d)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asWorkload+"=1", "GOMAXPROCS=16")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		l.t.Fatalf("workload said %q, %v", line, err)
	}
	return cmd.Process
}

func newAgent(t *testing.T, change func(*Options)) *Agent {
	t.Helper()
	o := DefaultOptions()
	if os.Getenv("KMEND_EMULATED") != "" { // test/kernels: loading takes seconds there
		o.Budget.CPU = 2 * time.Minute
	}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func formatMS(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
