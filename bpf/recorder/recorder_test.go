package recorder

import (
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/test/rig"
)

func load(t *testing.T) *Recorder {
	t.Helper()
	rig.Root(t)
	r, err := Load(DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// of sums what a group did in the samples.
func of(g *rig.Group, samples ...Sample) (sum Delta) {
	for _, s := range samples {
		for _, d := range s.Groups {
			if d.Cgroup != g.ID() {
				continue
			}
			for i, ns := range d.NS {
				sum.NS[i] += ns
			}
			sum.Switches += d.Switches
			sum.Threads += d.Threads
			sum.Periods += d.Periods
			sum.Limited += d.Limited
			sum.ThrottledNS += d.ThrottledNS
			sum.Quota = d.Quota
		}
		// Waiting of a second and more between two reads is told by itself.
		for _, w := range s.Long {
			if w.Cgroup == g.ID() {
				sum.NS[w.State] += uint64(w.End - w.Begin)
			}
		}
	}
	return sum
}

func read(t *testing.T, r *Recorder) (s Sample) {
	t.Helper()
	if err := r.Read(&s); err != nil {
		t.Fatal(err)
	}
	if s.Overflown != 0 {
		t.Errorf("%d switches of groups without a cell", s.Overflown)
	}
	return s
}

func millis(ns uint64) float64 { return float64(ns) / 1e6 }

// The recorder and the ledger of a window watch the same threads at the same time:
// two programs that find their figures in different ways.
func TestAgreesWithTheLedger(t *testing.T) {
	for _, c := range []struct {
		name  string
		quota float64
		args  []string
	}{
		{"burning", 0, []string{"-mode", "burn"}},
		{"throttled", 0.3, []string{"-mode", "burn", "-cpus", "0"}},
		{"queueing", 0, []string{"-mode", "burn", "-threads", "3", "-cpus", "0"}},
		{"short, queueing", 0, []string{"-mode", "pingpong", "-threads", "4", "-on", "300us", "-cpus", "0"}},
		{"short, throttled", 0.2, []string{"-mode", "pingpong", "-threads", "2", "-on", "100us", "-cpus", "0"}},
		{"writing to a disk", 0, []string{"-mode", "fsync", "-threads", "2"}},
		{"locking in the kernel", 0, []string{"-mode", "mmap", "-threads", "4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := load(t)
			members, err := probe.NewMembers(64)
			if err != nil {
				t.Fatal(err)
			}
			defer members.Close()
			p, err := threads.Load(threads.DefaultOptions(), members)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			g := rig.NewGroup(t)
			if c.quota > 0 {
				g.Quota(c.quota)
			}
			rig.Start(t, append(c.args, "-cgroup", g.Path)...)
			time.Sleep(300 * time.Millisecond) // every thread has been switched in once
			before, stolen := time.Now(), rig.Stolen(t)
			read(t, r)
			if err := members.Set(probe.Target{Cgroups: []string{g.Path}}); err != nil {
				t.Fatal(err)
			}
			ledger, err := p.Measure(t.Context(), 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			// What is outside of the ledger's window but between the reads, at most by
			// every thread.
			got := of(g, read(t, r))
			n := 0
			var want [NumStates]uint64
			for _, th := range ledger.Threads {
				for i, st := range []int{0, 1, 2, 3, 4, 5} { // the same order in both, on_cpu to kernel_lock
					want[i] += th.StateNS[st]
				}
				if th.StateNS[0] > uint64(20*time.Millisecond) {
					n++
				}
			}
			slack := float64(max(1, n))*float64(time.Since(before)-2*time.Second)/1e6 + 20
			// While the hypervisor has a CPU between a wakeup and its switch, the
			// scheduler's clock stands, and everybody on that CPU waits.
			stolen = rig.Stolen(t) - stolen
			slack += stolen * float64(max(1, n))
			if c.quota > 0 {
				// A wait counts when it ends: one period each, and more where what was
				// stolen is billed and paid back.
				slack += (100 + stolen/c.quota) * float64(len(ledger.Threads))
			}
			agree := func(what string, recorded, ledger, slack float64) {
				t.Logf("%s: recorded %.1f ms, the ledger says %.1f (%.0f were stolen)", what, recorded, ledger, stolen)
				if d := math.Abs(recorded - ledger); d > slack+0.05*ledger {
					t.Errorf("%s: recorded %.1f ms, the ledger says %.1f (%.1f may differ; %.0f were stolen)", what, recorded, ledger, slack, stolen)
				}
			}
			// At a switch that a wakeup asked for the kernel's clock is that of the wakeup
			// (rq_clock_skip_update). Where whoever runs is long in the kernel, what its
			// account has as waiting for the CPU is too short by that, and running too long.
			late := 200 * float64(min(max(1, n), runtime.NumCPU()))
			for i, st := range []string{"on_cpu", "run_queue", "throttled", "io", "reclaim", "kernel_lock"} {
				more := slack
				if i == OnCPU || i == RunQueue {
					more += late
				}
				agree(st, millis(got.NS[i]), millis(want[i]), more)
			}
			agree("on_cpu and run_queue", millis(got.NS[OnCPU]+got.NS[RunQueue]), millis(want[OnCPU]+want[RunQueue]), 2*slack)
			if got.Threads == 0 {
				t.Error("no thread was active")
			}
			if c.quota > 0 && (got.Limited == 0 || got.Quota != c.quota || millis(got.NS[Throttled]) < 300) {
				t.Errorf("throttled by a quota of %v: %+v", c.quota, got)
			}
		})
	}
}

// The kernel's own count of a group's throttling, from its first period on.
func TestCountsWhatTheKernelCounts(t *testing.T) {
	r := load(t)
	g := rig.NewGroup(t).Quota(0.2)
	first := read(t, r)
	before := g.ThrottledMS()
	w := rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-duration", "1500ms")
	w.Wait()
	kernel := g.ThrottledMS() - before
	got := of(g, first, read(t, r))
	if ms := millis(got.ThrottledNS); ms < kernel-0.1 || ms > kernel+110 || got.Limited == 0 || got.Limited > got.Periods {
		t.Errorf("throttled for %.1f ms in %d of %d periods, the kernel says %.1f", ms, got.Limited, got.Periods, kernel)
	}
}

// Every CPU's time is somebody's: no more than there is, also of a thread that is
// never switched out and of reads in quick succession.
func TestTimeIsCountedOnce(t *testing.T) {
	r := load(t)
	g := rig.NewGroup(t)
	rig.Start(t, "-mode", "burn", "-threads", "4", "-cgroup", g.Path)
	begin := read(t, r).End
	var all uint64
	var last Sample
	for range 50 {
		time.Sleep(20 * time.Millisecond)
		last = read(t, r)
		for _, d := range last.Groups {
			all += d.NS[OnCPU]
		}
	}
	passed := float64((last.End-begin)/1e6) * float64(runtime.NumCPU())
	if got := millis(all); got > 1.02*passed+20 {
		t.Errorf("groups were on CPUs for %.0f ms, there were %.0f", got, passed)
	}
}

// A group that is gone gives its cell to the next one, which begins at 0.
func TestCellsChangeHands(t *testing.T) {
	r := load(t)
	for range 5 {
		t.Run("", func(t *testing.T) {
			g := rig.NewGroup(t)
			begin := read(t, r).End
			rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-duration", "200ms").Wait()
			s := read(t, r)
			got, passed := millis(of(g, s).NS[OnCPU]), float64((s.End-begin)/1e6)*float64(runtime.NumCPU())
			if got < 5 || got > passed+10 {
				t.Errorf("on CPU for %.0f of %.0f ms", got, passed)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, n := range []int{0, 15, 1 << 20} {
		if _, err := Load(Options{MaxGroups: n}); err == nil {
			t.Errorf("MaxGroups %d is allowed", n)
		}
	}
}
