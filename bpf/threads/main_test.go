package threads

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/test/workload/load"
)

// The test binary is its own workload, so that it is the only file a VM needs.
const workloadEnv = "KMEND_WORKLOAD"

func TestMain(m *testing.M) {
	if os.Getenv(workloadEnv) != "" || os.Getenv(load.ExitEnv) != "" {
		os.Exit(load.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() == 0 {
		leave, err := enterTop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "the tests need to make cgroups:", err)
			return 1
		}
		defer leave()
	}
	return m.Run()
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (*Probe, error) { return Load(DefaultOptions()) })

func probe(t *testing.T) *Probe {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// measure opens one window and asks what every window must give: nothing lost,
// every thread's states add up to its life, every CPU's time is somebody's.
func measure(t *testing.T, target Target, window time.Duration) Result {
	t.Helper()
	return measureWith(t, probe(t), target, window)
}

func measureWith(t *testing.T, p *Probe, target Target, window time.Duration) Result {
	t.Helper()
	begin := time.Now()
	r, err := p.Measure(t.Context(), target, window)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("window %v, %v more to attach, read and detach", window, (time.Since(begin) - window).Round(time.Millisecond))
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	for _, th := range r.Threads {
		if sum := total(th.StateNS); !near(sum, ms(th.WallNS), 0.01, 0.01) {
			t.Errorf("thread %d %s: states add up to %.3f of %.3f ms", th.TID, th.Comm, sum, ms(th.WallNS))
		}
	}
	held := ms(r.IdleNS)
	for _, h := range r.Holders {
		held += ms(h.OnCPUNS)
	}
	if want := float64(r.CPUs) * millis(window); !near(held, want, 0.01, 0) {
		t.Errorf("holders and idle add up to %.1f ms, %d CPUs had %.1f", held, r.CPUs, want)
	}
	return r
}

// Indexes of StateNS; TestStates holds them to incident.States.
const (
	onCPU = iota
	runQueue
	throttled
	io_
	kernelLock
	userLock
	sleep
)

type sums struct {
	threads int
	wall    float64 // ms
	state   [NumStates]float64
}

func (s sums) String() string {
	return fmt.Sprintf("%d threads, %.0f ms: on_cpu %.0f, run_queue %.0f, throttled %.0f, io %.0f, kernel_lock %.0f, user_lock %.0f, sleep %.0f",
		s.threads, s.wall, s.state[0], s.state[1], s.state[2], s.state[3], s.state[4], s.state[5], s.state[6])
}

// ledger adds up a result.
func ledger(t *testing.T, r Result) sums {
	t.Helper()
	var s sums
	add := func(n int, wall uint64, state [NumStates]uint64) {
		s.threads += n
		s.wall += ms(wall)
		for i, ns := range state {
			s.state[i] += ms(ns)
		}
	}
	for _, th := range r.Threads {
		add(1, th.WallNS, th.StateNS)
	}
	for _, g := range r.Ended {
		add(g.Threads, g.WallNS, g.StateNS)
	}
	t.Log(s)
	return s
}

func ms(ns uint64) float64           { return float64(ns) / 1e6 }
func millis(d time.Duration) float64 { return float64(d) / 1e6 }
func total(s [NumStates]uint64) (sum float64) {
	for _, ns := range s {
		sum += ms(ns)
	}
	return sum
}

// near: got is within a share of want, or within some milliseconds of it.
func near(got, want, share, millis float64) bool {
	d := max(got-want, want-got)
	return d <= share*want || d <= millis
}

// workload starts this binary as the workload and waits until its threads run.
type workload struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bufio.Reader
	errs bytes.Buffer
	PID  int
}

func start(t *testing.T, args ...string) *workload {
	t.Helper()
	w := &workload{t: t, cmd: exec.Command("/proc/self/exe", args...)}
	w.cmd.Env = append(os.Environ(), workloadEnv+"=1")
	w.cmd.Stderr = &w.errs
	pipe, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.stop() })
	w.out = bufio.NewReader(pipe)
	if _, err := fmt.Fscanf(w.out, "ready %d\n", &w.PID); err != nil {
		t.Fatalf("starting workload %v: %v: %s", args, err, w.errs.String())
	}
	return w
}

// stop ends the workload and gives what it did.
func (w *workload) stop() (s load.Summary) {
	if w.cmd.ProcessState != nil {
		return s
	}
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	return w.wait()
}

func (w *workload) wait() (s load.Summary) {
	line, err := w.out.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &s)
	}
	if err = errors.Join(err, w.cmd.Wait()); err != nil {
		w.t.Errorf("workload: %v: %s", err, strings.TrimSpace(w.errs.String()))
	}
	return s
}

// threadCount is how many threads the process has now.
func (w *workload) threadCount() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", w.PID))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(entries)
}

// billedMS is the CPU time that the kernel has charged to the process's threads, in ms.
func (w *workload) billedMS() (sum float64) {
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
