package memory

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

// Threads that read a mapped file of 64 MB in a cgroup with 24: for each page
// that is read another one is got back.
func TestMappedFileOverTheLimit(t *testing.T) {
	const limit = 24
	b, g := loaded(t), newGroup(t)
	g.limit(limit)
	w := rig.Start(t, "-mode", "mapped", "-mb", "64", "-threads", "2", "-dir", onDisk(t), "-cgroup", g.Path)
	for window := time.Second; ; window *= 2 { // until it has written its file and reads
		before := pagesIn(t, w.PID)
		r := b.measure(probe.Target{PIDs: []int{w.PID}}, window)
		in := pagesIn(t, w.PID) - before
		t.Logf("direct %+v, memcg %+v; %d pages came in", r.Direct, r.Memcg, in)
		if most := in + limit<<20/uint64(os.Getpagesize()); r.Memcg.Pages > most {
			t.Errorf("%d pages got back, the group had no more than %d", r.Memcg.Pages, most)
		}
		if r.Memcg.Longest > r.Memcg.Time || r.Memcg.Time > 20*window || (r.Memcg.Count > 0) != (r.Memcg.Time > 0) {
			t.Errorf("times %+v", r.Memcg)
		}
		// What came in has the pages of before and after the window.
		if r.Memcg.Count > 10 && r.Memcg.Pages > in/2 {
			return
		}
		if window > 16*time.Second {
			t.Fatalf("%d reclaims got %d of %d pages", r.Memcg.Count, r.Memcg.Pages, in)
		}
	}
}

// A group that may not take more is made to reclaim, also when there is nothing.
func TestOverHigh(t *testing.T) {
	if !rig.IsV2() {
		t.Skip("memory.high is cgroup v2's; it runs in test/kernels")
	}
	b, g := loaded(t), newGroup(t)
	w := rig.Start(t, "-mode", "hog", "-mb", "64", "-cgroup", g.Path)
	free := b.measure(probe.Target{Cgroups: []string{g.Path}}, time.Second)
	g.Write("memory.high", "16777216")
	// The kernel then holds the thread back for up to 2 s at a time (MEMCG_MAX_HIGH_DELAY_JIFFIES).
	r := b.measure(probe.Target{PIDs: []int{w.PID}}, 7*time.Second)
	t.Logf("free %+v; over memory.high %+v", free.Memcg, r.Memcg)
	if free.Memcg.Count != 0 || r.Memcg.Count == 0 || r.Memcg.Time == 0 {
		t.Error("wanted reclaim over memory.high and none below it")
	}
}

// Nobody else's reclaim is the target's.
func TestReclaimOfOthers(t *testing.T) {
	b, g, other := loaded(t), newGroup(t), newGroup(t)
	g.limit(24)
	rig.Start(t, "-mode", "mapped", "-mb", "64", "-dir", onDisk(t), "-cgroup", g.Path)
	w := rig.Start(t, "-mode", "burn", "-cgroup", other.Path)
	r := b.measure(probe.Target{PIDs: []int{w.PID}}, time.Second)
	if r.Memcg.Count != 0 || len(r.Kills) != 0 {
		t.Errorf("a loop reclaims: %+v", r)
	}
}

// A process that wants more than its group may have is killed, and the probe says
// whose limit it was.
func TestKilled(t *testing.T) {
	b, g := loaded(t), newGroup(t)
	for _, c := range []struct {
		name   string
		target func(pid int) probe.Target
		want   bool
	}{
		{"by process", func(pid int) probe.Target { return probe.Target{PIDs: []int{pid}} }, true},
		{"by cgroup", func(int) probe.Target { return probe.Target{Cgroups: []string{g.Path}} }, true},
		{"another", func(int) probe.Target { return probe.Target{PIDs: []int{os.Getpid()}} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			g.limit(1024)
			w := rig.Start(t, "-mode", "hog", "-mb", "64", "-cgroup", g.Path)
			go func() {
				b.opened()
				// A group with more than the new limit could not set it on v1.
				for range 100 {
					if err := os.WriteFile(g.Path+"/"+limitFile(g), []byte("16777216"), 0o644); err == nil || w.Cmd.ProcessState != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			r := b.measure(c.target(w.PID), 3*time.Second)
			if err := w.Cmd.Wait(); err == nil {
				t.Fatal("it was not killed")
			}
			t.Logf("%+v; reclaim %+v", r.Kills, r.Memcg)
			if len(r.Kills) == 0 {
				t.Fatal("no kill was seen")
			}
			k := r.Kills[0]
			// On v2 a limit may be set below the usage, and whoever sets it kills.
			if k.PID != w.PID || k.Target != c.want || k.CgroupID != g.inode() || k.Limit != 16<<20 || k.Usage > 128<<20 || k.Usage < k.Limit/2 {
				t.Errorf("killed %+v, wanted process %d in cgroup %d at its limit", k, w.PID, g.inode())
			}
			if k.Comm != "" && (k.Comm != "exe" || k.Size < 16<<20) {
				t.Errorf("%q with %d bytes", k.Comm, k.Size)
			}
		})
	}
}

// What happens while others still attach is not in the window.
func TestBeforeTheWindow(t *testing.T) {
	b, g := loaded(t), newGroup(t)
	if err := b.members.Set(probe.Target{Cgroups: []string{g.Path}}); err != nil {
		t.Fatal(err)
	}
	defer b.members.Clear()
	together := probe.NewTogether(time.Minute)
	ctx, leave := together.Join(t.Context())
	defer leave()
	_, attached := together.Join(t.Context())
	go func() {
		defer attached()
		g.limit(16)
		for range 1000 { // killed one after the other, until the probe has seen it
			w := rig.Start(t, "-mode", "hog", "-mb", "64", "-cgroup", g.Path)
			if err := w.Cmd.Wait(); err == nil {
				t.Error("it was not killed")
				return
			}
			var n uint32
			if err := b.probe.objs.KillCount.Get(&n); err != nil || n > 0 {
				return
			}
		}
	}()
	r, err := b.probe.Measure(ctx, 500*time.Millisecond)
	if err != nil || len(r.Kills) > 0 || r.Memcg.Count > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	var n uint32
	if err := b.probe.objs.KillCount.Get(&n); err != nil || n == 0 {
		t.Errorf("%d kills before the window, %v", n, err)
	}
}

func limitFile(g group) string {
	if g.v2 {
		return "memory.max"
	}
	return "memory.limit_in_bytes"
}

// What was seen until the window was cut short is not lost: a target that was
// killed is gone, and that ends the window.
func TestCancelled(t *testing.T) {
	b := loaded(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { b.opened(); cancel(why) }()
	if err := b.members.Set(probe.Target{PIDs: []int{os.Getpid()}}); err != nil {
		t.Fatal(err)
	}
	defer b.members.Clear()
	r, err := b.probe.Measure(ctx, time.Minute)
	if !errors.Is(err, why) || r.Window <= 0 || r.Window > 30*time.Second {
		t.Errorf("window %v: %v", r.Window, err)
	}
}

// onDisk is a directory on a disk.
func onDisk(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(wd, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		t.Skip("needs a disk below the working directory; it runs in `make test` and not in test/kernels")
	}
	return wd
}
