package agent

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/locks"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// instrumentOf loads one instrument for one process.
func instrumentOf(t *testing.T, name string, pid int) measurer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for eBPF; make test runs it as root")
	}
	m, err := probe.NewMembers(64)
	if err != nil {
		t.Fatal(err)
	}
	in, err := instrumentNamed(t, name).load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Set(probe.Target{PIDs: []int{pid}}); err != nil {
		t.Fatal(err)
	}
	return in
}

// loadOf is a mode of test/workload in this test binary, until the test ends.
func loadOf(t *testing.T, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asWorkload+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// most is the evidence of a metric with the largest value.
func most(evidence []incident.Evidence, metric string) (best incident.Evidence) {
	for _, e := range evidence {
		if e.Metric == metric && (e.Value > best.Value || best.Metric == "") {
			best = e
		}
	}
	return best
}

func TestKernelLocksHaveNames(t *testing.T) {
	for mode, class := range map[string]string{"mmap": "mmap_lock", "write": "inode i_rwsem", "dir": "inode i_rwsem", "pipe": "pipe->mutex"} {
		t.Run(mode, func(t *testing.T) {
			pid := loadOf(t, "-mode", mode, "-threads", "4", "-dir", t.TempDir())
			r, err := instrumentOf(t, "locks", pid).Measure(t.Context(), subject{proc: "/proc"}, 1500*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			slept := most(r.evidence, "lock_sleep")
			if slept.Subject != class || slept.Value <= 0 || slept.Value > most(r.evidence, "sleep").Value+0.01 {
				t.Errorf("most waited for is %q: %v of %v ms", slept.Subject, slept.Value, most(r.evidence, "sleep").Value)
			}
			if len(slept.Stack) == 0 || !strings.HasSuffix(slept.Stack[0], " (kernel)") {
				t.Errorf("stack %v", slept.Stack)
			}
			if mode == "write" && !strings.HasPrefix(most(r.evidence, "lock_holder").Subject, class+" held by ") {
				t.Errorf("held by %q", most(r.evidence, "lock_holder").Subject)
			}
			for _, e := range r.evidence {
				if strings.Contains(e.Subject, "0x") {
					t.Errorf("a lock is named by its address: %q", e.Subject)
				}
			}
		})
	}
}

func TestLockClass(t *testing.T) {
	for _, c := range []struct {
		wait     locks.Wait
		variable string
		stack    string
		want     string
	}{
		{locks.Wait{Known: locks.MmapLock, Kind: locks.RWSem}, "", "", "mmap_lock"},
		{locks.Wait{Kind: locks.Mutex}, "rtnl_mutex", "__mutex_lock.constprop.0 dev_ioctl", "rtnl_mutex"},
		{locks.Wait{Kind: locks.Mutex}, "", "__mutex_lock.constprop.0 rtnl_lock dev_ioctl", "rtnl_mutex"},
		{locks.Wait{Kind: locks.RWSem}, "", "rwsem_down_write_slowpath down_write shmem_file_write_iter vfs_write", "inode i_rwsem"},
		{locks.Wait{Kind: locks.Spinlock}, "", "__pv_queued_spin_lock_slowpath _raw_spin_lock_irq rwsem_down_write_slowpath down_write ext4_buffered_write_iter", "inode i_rwsem"},
		{locks.Wait{Kind: locks.Mutex}, "", "__mutex_lock.constprop.0 anon_pipe_read vfs_read", "pipe->mutex"},
		{locks.Wait{Kind: locks.Spinlock}, "", "native_queued_spin_lock_slowpath _raw_spin_lock try_to_wake_up wake_up_q futex_wake", "rq->lock"},
		{locks.Wait{Kind: locks.Spinlock}, "", "native_queued_spin_lock_slowpath _raw_spin_lock_irqsave try_to_wake_up wake_up_q", "task pi_lock"},
		{locks.Wait{Kind: locks.Spinlock}, "", "native_queued_spin_lock_slowpath _raw_spin_lock futex_wake do_futex", "futex hash bucket"},
		{locks.Wait{Kind: locks.Spinlock}, "", "native_queued_spin_lock_slowpath _raw_spin_lock __rmqueue_pcplist get_page_from_freelist", "zone->lock"},
		{locks.Wait{Kind: locks.Semaphore}, "", "__down_common down my_driver_open", "lock in my_driver_open"},
		{locks.Wait{Kind: locks.Mutex}, "", "", "lock at an unknown place"},
		{locks.Wait{Kind: locks.Mutex}, "", "__mutex_lock.constprop.0", "lock at an unknown place"},
	} {
		var frames []symbols.Frame
		for _, f := range strings.Fields(c.stack) {
			frames = append(frames, symbols.Frame{Func: f, Module: "kernel", Kind: symbols.Kernel})
		}
		if got := lockClass(c.wait, frames, c.variable); got != c.want {
			t.Errorf("%s %q is %q, want %q", c.wait.Kind, c.stack, got, c.want)
		}
	}
}

// One long wait among short ones is the hypervisor's.
func TestContendedSpin(t *testing.T) {
	for _, c := range []struct {
		l    lockSum
		want time.Duration
	}{
		{lockSum{count: 3, spin: 90, longest: 30}, 0},
		{lockSum{count: 84, spin: 247, longest: 243}, 4},
		{lockSum{count: 1000, spin: 5000, longest: 50}, 5000},
	} {
		if got := c.l.contendedSpin(); got != c.want {
			t.Errorf("%+v: %v", c.l, got)
		}
	}
}

// The kernel's symbols are read while the window runs, not before it, where it would
// open later, nor behind it. The file is a pipe: who opens it waits for who writes.
func TestTheKernelsNamesAreReadInTheWindow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for eBPF; make test runs it as root")
	}
	const window = time.Second
	proc := t.TempDir()
	path := filepath.Join(proc, "kallsyms")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan time.Time, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		asked <- time.Now()
		if err == nil {
			_, _ = f.WriteString("ffffffff81000000 T _text\n")
			_ = f.Close()
		}
	}()
	m, err := probe.NewMembers(probe.MinGroups)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	in, err := loadLocks(m, symbols.NewKernelSymbols(proc))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	began := time.Now()
	if len(asked) != 0 {
		t.Fatal("loading reads them")
	}
	if err := m.Set(probe.Target{PIDs: []int{os.Getpid()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Measure(t.Context(), subject{}, window); err != nil {
		t.Fatal(err)
	}
	select {
	case at := <-asked:
		if at.Sub(began) > window {
			t.Errorf("they were read %v after the beginning of a window of %v", at.Sub(began), window)
		}
	default:
		t.Error("they were not read by the end of the window")
	}
}
