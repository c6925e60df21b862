package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"github.com/kmend/kmend/test/workload/load"
	"golang.org/x/sys/unix"
)

// A whole life inside the window on a device that nobody else uses: the number
// and the size of the I/Os are the device's own, and so is the time they took.
func TestCountsAndTimesAreTheDevices(t *testing.T) {
	b, l, g := loaded(t), newLoop(t), rig.NewGroup(t)
	for window := 2500 * time.Millisecond; ; window *= 2 {
		type done struct {
			at           time.Time
			did          load.Summary
			before, last account
		}
		ended := make(chan done, 1)
		go func() {
			b.opened()
			d := done{before: l.account()}
			w := rig.Start(t, "-mode", "fsync", "-threads", "2", "-off", "2ms", "-duration", "1s", "-dir", l.Dir, "-cgroup", g.Path)
			d.did = w.Wait()
			l.sync()
			d.last, d.at = l.account(), time.Now()
			ended <- d
		}()
		begin := time.Now()
		r := b.measure(probe.Target{Cgroups: []string{g.Path}}, nil, window)
		d := <-ended
		if d.at.After(begin.Add(window)) && window < 20*time.Second {
			t.Logf("the workload outlived the window of %v", window)
			continue
		}
		all, own := r.of(l.Device, Target, Kernel, Other), r.of(l.Device, Target)
		ios, bytes, took := d.last.ios-d.before.ios, d.last.bytes-d.before.bytes, d.last.ms-d.before.ms
		t.Logf("all: %v; skipped %d; pending %+v", all, r.Skipped, r.Pending)
		t.Logf("the target: %v", own)
		t.Logf("the device's account: %.0f I/Os, %.0f bytes, %.0f ms; the workload: %d commits, %.0f ms", ios, bytes, took, d.did.Ops, d.did.WaitedMS)
		// A flush of its own is a write without data to the device.
		if got := float64(all.Count() - all.Others); got > ios || got < ios-few(ios) {
			t.Errorf("%.0f I/Os, the device counted %.0f", got, ios)
		}
		if got := float64(all.Bytes); got > bytes || got < bytes-4096*few(ios) {
			t.Errorf("%.0f bytes, the device counted %.0f", got, bytes)
		}
		// Its time of an I/O begins when the request has been made, and it counts a
		// flush before the data apart.
		if got := ms(all.Queue.Total + all.Service.Total); got < 0.8*took || took == 0 {
			t.Errorf("%.1f ms, the device counted %.1f", got, took)
		}
		// Each commit writes its own block, and waits for that and for more.
		if n := float64(d.did.Ops); float64(own.Writes) < n-few(n) || n == 0 {
			t.Errorf("%d commits of the target in %d writes", d.did.Ops, own.Writes)
		}
		if got := ms(own.Queue.Total + own.Service.Total); got > 1.01*d.did.WaitedMS {
			t.Errorf("the target's I/Os took %.1f ms, it waited %.1f ms for them", got, d.did.WaitedMS)
		}
		if n := own.Queue.Count(); n != own.Count() || own.Service.Count() != n {
			t.Errorf("%d and %d in the histograms, %d I/Os", n, own.Service.Count(), own.Count())
		}
		return
	}
}

// few is how many of n may be missing: those under way when the window opened, and
// what the flusher writes for the target.
func few(n float64) float64 { return max(5, n/50) }

// The neighbour on the same device is known by its cgroup, and the journal as the kernel's.
func TestNeighbourAndKernel(t *testing.T) {
	b, l, g, noisy := loaded(t), newLoop(t), rig.NewGroup(t), rig.NewGroup(t)
	w := rig.Start(t, "-mode", "fsync", "-dir", l.Dir, "-cgroup", g.Path)
	rig.Start(t, "-mode", "io", "-threads", "4", "-dir", l.Dir, "-cgroup", noisy.Path)
	id := inode(t, noisy.Path)
	for window := time.Second; ; window *= 2 { // the disk below may stand still for seconds
		r := b.measure(probe.Target{PIDs: []int{w.PID}}, nil, window)
		var found Share
		for _, s := range r.Shares {
			t.Logf("owner %d, cgroup %d, %s, %v: %v", s.Owner, s.CgroupID, s.Comm, s.Device, s)
			if s.Device == l.Device && s.Owner == Other && s.CgroupID == id {
				found = s
			}
		}
		journal, own := r.of(l.Device, Kernel).Writes, r.of(l.Device, Target).Writes
		if found.Writes > 0 && journal > 0 && own > 0 {
			return
		}
		if window > 16*time.Second {
			t.Fatalf("the neighbour in cgroup %d wrote %d times, the journal %d, the target %d", id, found.Writes, journal, own)
		}
	}
}

func inode(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// On v1 a bio that was held back is submitted by the kernel; its io group says whose it was.
func TestHeldBackOnV1(t *testing.T) {
	if rig.IsV2() {
		t.Skip("io.max is seen on the bio itself; the v1 case runs in `make test`")
	}
	b, l := loaded(t), newLoop(t)
	dir, err := os.MkdirTemp("/sys/fs/cgroup/blkio", "kmend-test-")
	if err != nil {
		t.Skip("needs the blkio controller, which `make test` has on a machine with cgroup v1: ", err)
	}
	io := rig.OpenGroup(t, dir)
	w := rig.Start(t, "-mode", "io", "-threads", "2", "-dir", l.Dir, "-cgroup", dir)
	target := probe.Target{PIDs: []int{w.PID}}
	var free Share
	for range 10 { // the disk below may stand still for seconds
		if free = b.measure(target, []uint64{inode(t, dir)}, time.Second).of(l.Device, Target); free.Writes > 120 {
			break
		}
	}
	io.Write("blkio.throttle.write_iops_device", l.number()+" 20")
	r := b.measure(target, []uint64{inode(t, dir)}, 2*time.Second)
	held := r.of(l.Device, Target)
	t.Logf("free: %v", free)
	t.Logf("held back: %v", held)
	if held.Writes == 0 || held.Writes > 2*20+20 { // and what a slice lets through at once
		t.Errorf("%d writes in 2 s, 20 a second are allowed", held.Writes)
	}
	if free.Writes < 2*held.Writes {
		t.Errorf("%d writes in 1 s when nothing holds them back: the test tests nothing", free.Writes)
	}
}

func (l loop) number() string {
	b, err := os.ReadFile(filepath.Join("/sys/block", l.name, "dev"))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b[:len(b)-1])
}

// What the tables have no room for is counted.
func TestTablesFull(t *testing.T) {
	rig.Root(t)
	l := newLoop(t)
	b, err := open(Options{MaxPending: 1024, MaxShares: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.t = t
	defer b.members.Close()
	defer b.probe.Close()
	w := rig.Start(t, "-mode", "fsync", "-off", "1us", "-dir", l.Dir)
	r, err := b.window(probe.Target{PIDs: []int{w.PID}}, nil, time.Second)
	if err != nil || r.Lost == 0 {
		t.Errorf("the target and the journal in one share: %d lost, %v", r.Lost, err)
	}
}

// A context that ends stops the window at once, and the next one is whole.
func TestCancelled(t *testing.T) {
	b := loaded(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if err := b.members.Set(probe.Target{PIDs: []int{os.Getpid()}}); err != nil {
		t.Fatal(err)
	}
	defer b.members.Clear()
	begin := time.Now()
	if _, err := b.probe.Measure(ctx, nil, time.Minute); !errors.Is(err, why) || time.Since(begin) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	if _, err := b.probe.Measure(t.Context(), nil, 50*time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestTimes(t *testing.T) {
	var x Times
	x.Slots[0], x.Slots[10], x.Slots[14] = 1, 97, 2 // below 1 µs, 1.024 ms, 16.384 ms
	x.Total = 100 * time.Millisecond
	if x.Count() != 100 || x.Mean() != time.Millisecond || x.Quantile(0.5) != 1024*time.Microsecond || x.Quantile(0.99) != 16384*time.Microsecond {
		t.Errorf("%d, mean %v, p50 %v, p99 %v", x.Count(), x.Mean(), x.Quantile(0.5), x.Quantile(0.99))
	}
	if y := x.Plus(x); y.Count() != 200 || y.Total != 200*time.Millisecond {
		t.Errorf("twice: %d in %v", y.Count(), y.Total)
	}
	var none Times
	if none.Mean() != 0 || none.Quantile(0.5) != 0 {
		t.Error("times of nothing")
	}
	if err := (Options{MaxPending: 0, MaxShares: 1}).validate(); err == nil {
		t.Error("no room for anything is allowed")
	}
}
