package threads

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/rig"
	"github.com/kmend/kmend/test/workload/load"
	"golang.org/x/sys/unix"
)

func TestStates(t *testing.T) {
	want := []incident.State{
		onCPU: incident.OnCPU, runQueue: incident.RunQueue, throttled: incident.Throttled, io_: incident.IO, reclaim: incident.Reclaim,
		kernelLock: incident.KernelLock, userLock: incident.UserLock, sleep: incident.Sleep,
	}
	if got := incident.States(); !slices.Equal(got, want) || len(got) != NumStates {
		t.Fatalf("the probe's states are %v, incident.States() is %v", want, got)
	}
}

// A fixed set of threads must account for threads x window, whatever they do.
func TestLedgerAddsUp(t *testing.T) {
	const window = 2 * time.Second
	for _, c := range []struct {
		name string
		args []string
	}{
		{"bursty", []string{"-mode", "bursty", "-threads", "3", "-on", "3ms", "-off", "5ms"}},
		{"sleeping", []string{"-mode", "sleep", "-threads", "5"}},
		{"waiting in futex", []string{"-mode", "futex", "-threads", "3"}},
		{"burning", []string{"-mode", "burn", "-threads", "4"}},
		{"locking in the kernel", []string{"-mode", "mmap", "-threads", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := rig.Start(t, c.args...)
			time.Sleep(300 * time.Millisecond) // Go's own threads are up
			before := w.ThreadCount()
			s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, window))
			if after := w.ThreadCount(); after != before {
				t.Logf("the runtime went from %d to %d threads", before, after)
				if s.threads < before || s.threads > after {
					t.Errorf("saw %d threads", s.threads)
				}
				return
			}
			if want := float64(before) * millis(window); s.threads != before || !near(s.wall, want, 0.01, 0) {
				t.Errorf("saw %d threads with %.0f ms, there were %d with %.0f", s.threads, s.wall, before, want)
			}
		})
	}
}

// Threads and processes that are born and die inside the window: the CPU time the
// kernel bills them for at their end is the ledger's.
func TestBornAndEnded(t *testing.T) {
	for _, c := range []struct {
		name     string
		options  Options
		overflow bool
	}{
		{"recorded one by one", DefaultOptions(), false},
		{"more than there are records", Options{MaxEnded: 16, MaxGroups: 64}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := loaded(t)
			if c.overflow {
				var err error
				if p, err = open(c.options); err != nil {
					t.Fatal(err)
				}
				defer p.Close()
			}
			g := rig.NewGroup(t)
			before := rig.Stolen(t)
			r, did, all := lifeInside(t, p, g)
			s, took := ledger(t, r), rig.Stolen(t)-before
			// It counts from when it is in its cgroup; the kernel also bills what
			// comes before, and after the workload's own account. It does not bill
			// what a hypervisor took from the machine, where it can tell.
			if s.state[onCPU] < 0.95*did.CPUMS-10 || s.state[onCPU] > 1.05*all+10+took {
				t.Errorf("on CPU for %.1f ms, the kernel billed %.1f, and %.1f at the end; %.0f ms were stolen", s.state[onCPU], did.CPUMS, all, took)
			}
			if int64(s.threads) < did.Born {
				t.Errorf("saw %d threads, %d came and went", s.threads, did.Born)
			}
			if !near(total64(s), s.wall, 0.01, 0) {
				t.Errorf("states add up to %.1f of %.1f ms", total64(s), s.wall)
			}
			if got := len(r.Ended) > 0; got != c.overflow {
				t.Errorf("threads beyond the records: %v", r.Ended)
			}
			if c.overflow && len(r.Threads) > 16 {
				t.Errorf("%d threads recorded one by one", len(r.Threads))
			}
			for _, th := range r.Threads {
				if !th.Ended {
					t.Errorf("thread %d %s ended, and counts as living", th.TID, th.Comm)
				}
			}
		})
	}
}

// lifeInside measures a window in which a workload is born, forks and ends. A
// slow VM needs a longer one.
func lifeInside(t *testing.T, p bench, g *rig.Group) (r Result, did load.Summary, billedMS float64) {
	for w := 2500 * time.Millisecond; ; w *= 2 {
		ended := make(chan time.Time, 1)
		go func() {
			defer func() { ended <- time.Now() }()
			opened(t, p, 100*time.Millisecond)
			l := rig.Start(t, "-mode", "fork", "-threads", "2", "-duration", "1s", "-cgroup", g.Path)
			did = l.Wait()
			billedMS = millis(l.Cmd.ProcessState.UserTime() + l.Cmd.ProcessState.SystemTime())
		}()
		r = measureWith(t, p, of(g), w)
		if at := <-ended; at.Before(r.Start.Add(r.Window)) || w > 20*time.Second || t.Failed() {
			return r, did, billedMS
		}
		t.Logf("the workload outlived the window of %v", w)
	}
}

func total64(s sums) (sum float64) {
	for _, v := range s.state {
		sum += v
	}
	return sum
}

func TestFutexIsUserLock(t *testing.T) {
	w := rig.Start(t, "-mode", "futex", "-threads", "3")
	s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second))
	if s.state[userLock] < 3*950 {
		t.Errorf("three threads wait in futex(2) for a second: user_lock %.0f ms", s.state[userLock])
	}
}

func TestSleepIsSleep(t *testing.T) {
	w := rig.Start(t, "-mode", "sleep", "-threads", "3")
	s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second))
	if s.state[sleep] < 3*950 {
		t.Errorf("three threads sleep for a second: sleep %.0f ms", s.state[sleep])
	}
}

func TestContendedKernelLock(t *testing.T) {
	w := rig.Start(t, "-mode", "mmap", "-threads", "4")
	s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second))
	if s.state[kernelLock] < 20 {
		t.Errorf("four threads fight for one address space: kernel_lock %.0f ms", s.state[kernelLock])
	}
}

// A commit waits for the journal without the kernel's in_iowait. What the ledger
// says of it is held against what the workload saw.
func TestCommitsAreIO(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.EXT4_SUPER_MAGIC {
		t.Skip("needs a temporary directory on ext4; it runs in `make test` and not in test/kernels")
	}
	w := rig.Start(t, "-mode", "fsync", "-off", "1us", "-threads", "2", "-dir", dir)
	s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, 2*time.Second))
	// Its two threads do nothing else; the runtime's own threads sleep.
	rest := 2*2000 - s.state[onCPU] - s.state[runQueue] - s.state[throttled] - s.state[kernelLock]
	if s.state[io_] < 0.8*rest || s.state[io_] < 20 {
		t.Errorf("two threads commit all the time and wait %.0f ms: io %.0f ms", rest, s.state[io_])
	}
}

// Threads that read a mapped file in a memory cgroup with too little for it, and
// then with enough.
func TestReclaimIsReclaim(t *testing.T) {
	rig.Root(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		t.Skip("needs a disk below the working directory; it runs in `make test` and not in test/kernels")
	}
	if rig.IsV2() {
		t.Skip("sets a limit of cgroup v1; it runs in `make test`")
	}
	path, err := os.MkdirTemp("/sys/fs/cgroup/memory", "kmend-test-")
	if err != nil {
		t.Fatal(err)
	}
	g := rig.OpenGroup(t, path)
	g.Write("memory.limit_in_bytes", strconv.Itoa(256<<20))
	w := rig.Start(t, "-mode", "mapped", "-mb", "64", "-threads", "2", "-dir", dir, "-cgroup", path)
	target := probe.Target{PIDs: []int{w.PID}}
	if s := ledger(t, measure(t, target, time.Second)); s.state[reclaim] > 1 {
		t.Errorf("reclaim %.0f ms in a cgroup with enough memory", s.state[reclaim])
	}
	for range 100 { // v1 takes a limit below the usage when it can reclaim the difference
		if err = os.WriteFile(path+"/memory.limit_in_bytes", []byte(strconv.Itoa(24<<20)), 0o644); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	for window := time.Second; ; window *= 2 {
		s := ledger(t, measure(t, target, window))
		if s.state[reclaim] > 20 && s.state[reclaim] > s.state[kernelLock] {
			return
		}
		if window > 16*time.Second {
			t.Fatalf("reclaim %.0f ms", s.state[reclaim])
		}
	}
}

func TestDirectWritesAreIO(t *testing.T) {
	var fs unix.Statfs_t
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		t.Skip("needs a disk below the working directory; it runs in `make test` and not in test/kernels")
	}
	w := rig.Start(t, "-mode", "io", "-dir", dir, "-threads", "2")
	s := ledger(t, measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second))
	if s.state[io_] < 20 {
		t.Errorf("two threads write to the disk all the time: io %.0f ms", s.state[io_])
	}
}
