package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// attachedNow counts the machine's BPF links to tracepoints, uprobes and perf events.
func attachedNow(t *testing.T) int {
	t.Helper()
	for attempt := 1; ; attempt++ {
		n, err := countLinks()
		if err == nil {
			return n
		}
		if !errors.Is(err, unix.EAGAIN) || attempt == 100 { // one went away while it was looked at
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func countLinks() (n int, err error) {
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		n++
	}
	return n, it.Err()
}

// nothingStays asks until the kernel, which frees links in the background, has as many as before.
func nothingStays(t *testing.T, before int) {
	t.Helper()
	var now int
	for range 300 {
		if now = attachedNow(t); now <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d links, there were %d before", now, before)
}

// A process that ends, and another that gets its number inside the window.
func TestPIDIsReused(t *testing.T) {
	l := newLab(t)
	const last = "/proc/sys/kernel/ns_last_pid"
	if _, err := os.Stat(last); err != nil {
		t.Skip("needs a kernel with CONFIG_CHECKPOINT_RESTORE, such as Debian's: it chooses the next process's number")
	}
	before := attachedNow(t)
	dir := l.group("target", 1024, 0)
	victim := l.load([]string{dir}, "-mode", "sleep")
	heirs := make(chan *exec.Cmd, 1)
	time.AfterFunc(700*time.Millisecond, func() {
		defer close(heirs)
		_ = victim.Kill()
		_, _ = victim.Wait()
		for range 2000 { // others fork meanwhile
			_ = os.WriteFile(last, []byte(strconv.Itoa(victim.Pid-1)), 0)
			c := exec.Command("sleep", "30")
			if c.Start() != nil {
				continue
			}
			if c.Process.Pid == victim.Pid {
				heirs <- c
				return
			}
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	m := measure(t, newAgent(t, nil), Request{Target: incident.Target{PID: victim.Pid}, Window: 3 * time.Second})
	if heir := <-heirs; heir != nil {
		_ = heir.Process.Kill()
		_ = heir.Wait()
	}
	aborted(t, m, fmt.Sprintf("process %d ended during the window", victim.Pid))
	nothingStays(t, before)
}

func TestTenThousandThreads(t *testing.T) {
	l := newLab(t)
	before := attachedNow(t)
	dir := l.group("target", 1024, 0)
	for range 10 {
		l.load([]string{dir}, "-mode", "sleep", "-threads", "1000")
	}
	m := measure(t, newAgent(t, nil), Request{Target: incident.Target{Cgroup: dir}, Window: time.Second})
	if m.Ledger.Threads < 10_000 {
		t.Errorf("saw %d threads: %+v", m.Ledger.Threads, m.Probes)
	}
	sum := 0.0
	for _, ms := range m.Ledger.States {
		sum += ms
	}
	if want := m.Ledger.WallMS; sum < 0.99*want || sum > 1.01*want {
		t.Errorf("the ledger adds up to %.0f of %.0f ms", sum, want)
	}
	if d := cause.Diagnose(m); d.Verdict == incident.Confirmed {
		t.Errorf("threads that sleep: %+v", d.Findings)
	}
	t.Logf("%.0f ms beside the window, %.0f ms CPU, %d KiB", m.Cost.WallMS-1000, m.Cost.CPUMS, m.Cost.MemoryBytes>>10)
	nothingStays(t, before)
}

func TestForkBomb(t *testing.T) {
	l := newLab(t)
	before := attachedNow(t)
	dir := l.group("target", 1024, 0)
	l.load([]string{dir}, "-mode", "fork", "-threads", "8")
	m := measure(t, newAgent(t, nil), Request{Target: incident.Target{Cgroup: dir}, Window: 2 * time.Second})
	d := cause.Diagnose(m)
	t.Logf("%d threads, %s: %s; %.0f ms beside the window, %.0f ms CPU", m.Ledger.Threads, d.Verdict, d.Findings[0].Message, m.Cost.WallMS-2000, m.Cost.CPUMS)
	if m.Ledger.Threads < 100 && m.Probes[0].Status == incident.ProbeOK {
		t.Errorf("a fork bomb with %d threads", m.Ledger.Threads)
	}
	nothingStays(t, before)
}

// A target that lives in mount and pid namespaces of its own.
func TestOtherNamespaces(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	c := exec.Command("sleep", "60")
	c.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	l.write(dir, "cgroup.procs", strconv.Itoa(c.Process.Pid))
	a := newAgent(t, nil)
	for _, target := range []incident.Target{{PID: c.Process.Pid}, {Cgroup: dir}} {
		m := measure(t, a, Request{Target: target, Window: 500 * time.Millisecond})
		if d := cause.Diagnose(m); m.Ledger.Threads != 1 || d.Verdict == incident.Confirmed {
			t.Errorf("%s: %d threads, %+v", target, m.Ledger.Threads, d.Findings)
		}
		for _, p := range m.Probes {
			if p.Status != incident.ProbeOK {
				t.Errorf("%s: probe %+v", target, p)
			}
		}
	}
}

// More cgroups are made inside the window than the tables hold: the loss is
// counted, and the diagnosis says so.
func TestTablesFillUp(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	l.load([]string{dir}, "-mode", "burn")
	a := newAgent(t, func(o *Options) {
		o.open = func(m *meter) (prober, error) { return openKit(16, symbols.NewKernelSymbols("/proc"), m) }
	})
	var made sync.WaitGroup
	m, err := a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}, Window: 3 * time.Second}, func(p Progress) {
		if p.Stage == Measuring {
			made.Go(func() {
				time.Sleep(1500 * time.Millisecond) // the tables are filled, and the window is open
				for i := range 24 {
					l.make(filepath.Join(dir, "child-"+strconv.Itoa(i)))
				}
			})
		}
	})
	made.Wait()
	if err != nil {
		if !strings.Contains(err.Error(), "MaxGroups") { // they were there before the window, on a slow machine
			t.Fatal(err)
		}
		return
	}
	d := cause.Diagnose(m)
	if d.Verdict != incident.Inconclusive || !strings.Contains(d.Findings[0].Message, "lost") {
		t.Errorf("%s %+v, want inconclusive about what was lost", d.Verdict, d.Findings)
	}
}

type panics struct{}

func (panics) Measure(context.Context, subject, time.Duration) (reading, error) {
	panic("index out of range")
}
func (panics) Close() error { return nil }

// An instrument that panics, fails or cannot run is not measured by; the others are.
func TestInstrumentsThatFail(t *testing.T) {
	for _, c := range []struct {
		part   part
		status incident.ProbeState
		reason string
	}{
		{part{instrument: instrument{name: "a"}, measurer: panics{}}, incident.ProbeAborted, "it panicked: index out of range"},
		{part{instrument: instrument{name: "b"}, err: &probe.UnsupportedError{Probe: "b", What: "tracepoint x", Reason: "old", Do: "update"}}, incident.ProbeUnsupported, "no tracepoint x"},
		{part{instrument: instrument{name: "c"}, err: fmt.Errorf("loading: %w", ebpf.ErrNotSupported)}, incident.ProbeUnsupported, "loading"},
	} {
		o := c.part.measure(t.Context(), subject{}, time.Second)
		if o.status.Name != c.part.name || o.status.Status != c.status || !strings.Contains(o.status.Reason, c.reason) {
			t.Errorf("%+v, want %s with %q", o.status, c.status, c.reason)
		}
	}
}

// The process that measures or records is killed meanwhile: the kernel takes
// everything back.
func TestKilledWhileItIsAttached(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", 1024, 0)
	l.load([]string{dir}, "-mode", "sleep")
	for child, links := range map[string]int{"TestMeasuresForAMinute": 6, "TestRecordsForAMinute": 2} {
		before := attachedNow(t)
		c := exec.Command("/proc/self/exe", "-test.run", "^"+child+"$")
		c.Env = append(os.Environ(), attachedTo+"="+dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		during := before
		for end := time.Now().Add(30 * time.Second); during < before+links && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			during = attachedNow(t)
		}
		_ = c.Process.Kill()
		_ = c.Wait()
		if during < before+links {
			t.Fatalf("%s: %d links, %d before: nothing was attached", child, during, before)
		}
		nothingStays(t, before)
	}
}

const attachedTo = "KMEND_TEST_ATTACHED_TO"

// TestMeasuresForAMinute is a process that TestKilledWhileItIsAttached kills.
func TestMeasuresForAMinute(t *testing.T) {
	dir := os.Getenv(attachedTo)
	if dir == "" {
		t.Skip("is started by TestKilledWhileItIsAttached")
	}
	a := newAgent(t, nil)
	_, _ = a.Measure(t.Context(), Request{Target: incident.Target{Cgroup: dir}, Window: time.Minute}, nil)
}

// TestRecordsForAMinute is another.
func TestRecordsForAMinute(t *testing.T) {
	if os.Getenv(attachedTo) == "" {
		t.Skip("is started by TestKilledWhileItIsAttached")
	}
	newLab(t).record()
	time.Sleep(time.Minute)
}

// Names of processes may hold anything.
func TestBornReadsAnyName(t *testing.T) {
	l := newLab(t)
	var born []uint64
	for _, name := range []string{"sleep", "a) R 1 (b", "x\ny"} {
		exe := filepath.Join(t.TempDir(), name)
		sleep, err := exec.LookPath("sleep")
		if err == nil {
			err = os.Symlink(sleep, exe)
		}
		if err != nil {
			t.Skip("needs a sleep program and runs in `make test`: ", err)
		}
		c := exec.Command(exe, "30")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ticks, err := l.node.Born(c.Process.Pid)
		_ = c.Process.Kill()
		_ = c.Wait()
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
		born = append(born, ticks)
	}
	if born[0] == 0 || !slices.IsSorted(born) {
		t.Errorf("started at %v", born)
	}
	if _, err := l.node.Born(1 << 30); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

func TestAnothersNumber(t *testing.T) {
	l := newLab(t)
	born, err := l.node.Born(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	w := window{node: l.node, scope: scope{what: probe.Target{PIDs: []int{os.Getpid()}}, born: born}}
	if why := w.gone(); why != "" {
		t.Errorf("this process is gone: %s", why)
	}
	w.scope.born--
	if why := w.gone(); !strings.Contains(why, "its number is another's now") {
		t.Errorf("another process with its number: %q", why)
	}
}

// A process of the target is killed for its memory: that is why there is no
// target any more, and it is said.
func TestKilledForItsMemory(t *testing.T) {
	l := newLab(t)
	parent, file := l.root, "memory.max"
	if l.cpu.V2 {
		l.write(parent, "cgroup.subtree_control", "+memory")
	} else {
		parent, file = l.make(filepath.Join("/sys/fs/cgroup/memory", filepath.Base(l.root))), "memory.limit_in_bytes"
	}
	dir := l.make(filepath.Join(parent, "small"))
	a := newAgent(t, nil)
	for _, byPID := range []bool{true, false} {
		l.write(dir, file, strconv.Itoa(1<<30))
		p := l.load([]string{dir}, "-mode", "hog", "-mb", "64")
		target := incident.Target{Cgroup: dir}
		if byPID {
			target = incident.Target{PID: p.Pid}
		}
		m, err := a.Measure(t.Context(), Request{Target: target, Window: 4 * time.Second}, func(s Progress) {
			if s.Stage != Measuring {
				return
			}
			time.AfterFunc(1500*time.Millisecond, func() {
				for range 100 { // a group with more than the new limit cannot set it on v1
					if os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(16<<20)), 0o644) == nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		d := cause.Diagnose(m)
		f, ok := d.RootCause()
		t.Logf("by pid %v: %+v", byPID, d.Findings)
		if !ok || f.Cause != incident.MemOOM || !strings.Contains(f.Message, strconv.Itoa(p.Pid)) {
			t.Errorf("by pid %v: %s %+v; probes %+v", byPID, d.Verdict, d.Findings, d.Probes)
		}
	}
}
