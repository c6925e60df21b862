package threads

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

// Behind whom a target waits is held against who held the CPUs: a neighbour of a
// thread that always wants the same CPU is what that thread waits for.
func TestBehindWhomAThreadWaits(t *testing.T) {
	for _, c := range []struct {
		name           string
		cpus           string
		own, neighbour string // threads that burn
		behindOwn      bool   // a part of the waits is behind its own threads,
		behindOthers   bool   // and behind others
	}{
		{"behind its own", "0", "2", "", true, false},
		{"behind a neighbour", "0", "1", "2", false, true},
		{"behind both", "0", "2", "2", true, true},
		{"behind its own, moved about", "0,1", "4", "", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, n := rig.NewGroup(t), rig.NewGroup(t)
			rig.Start(t, "-mode", "burn", "-threads", c.own, "-cpus", c.cpus, "-cgroup", g.Path)
			if c.neighbour != "" {
				rig.Start(t, "-mode", "burn", "-threads", c.neighbour, "-cpus", c.cpus, "-cgroup", n.Path)
			}
			time.Sleep(200 * time.Millisecond)
			r := measure(t, of(g), 2*time.Second)
			var queue, own, others, kmend, held float64
			for _, th := range r.Threads {
				queue += ms(th.StateNS[runQueue])
				own += ms(th.Behind.OwnNS)
				others += ms(th.Behind.OthersNS)
				kmend += ms(th.Behind.KmendNS)
			}
			for _, h := range r.Holders {
				if h.CgroupID == n.ID() {
					held = ms(h.OnCPUNS)
				}
			}
			t.Logf("waited %.0f ms, %.0f of them behind its own, %.0f behind others and %.0f behind kmend; the neighbour held %.0f", queue, own, others, kmend, held)
			// The CPU may be idle before it takes the thread up: emulated, in up to a third of the time.
			if own+others+kmend < 0.5*queue {
				t.Errorf("of %.0f ms of waiting, %.0f were behind its own, %.0f behind others and %.0f behind kmend", queue, own, others, kmend)
			}
			// Others than the neighbour run on this machine, too.
			if (own > 0.1*queue) != c.behindOwn || c.behindOthers && others < 0.1*queue || !c.behindOthers && others > 0.4*queue {
				t.Errorf("of %.0f ms of waiting, %.0f were behind its own and %.0f behind others", queue, own, others)
			}
			if c.own == "1" && others < 0.95*held {
				t.Errorf("one thread wants the CPU that others held for %.0f ms, and waited %.0f behind them", held, others)
			}
		})
	}
}

// A thread waits for a CPU on which this process runs.
func TestBehindKmend(t *testing.T) {
	g := rig.NewGroup(t)
	rig.Start(t, "-mode", "burn", "-threads", "1", "-cpus", "0", "-cgroup", g.Path)
	var stop atomic.Bool
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		var first unix.CPUSet
		first.Set(0)
		if err := unix.SchedSetaffinity(0, &first); err != nil {
			t.Error(err)
		}
		opened(t, loaded(t), 0)
		for !stop.Load() { // burns the same CPU
		}
	}()
	r := measure(t, of(g), time.Second)
	stop.Store(true)
	var queue, own, others, kmend float64
	for _, th := range r.Threads {
		queue += ms(th.StateNS[runQueue])
		own += ms(th.Behind.OwnNS)
		others += ms(th.Behind.OthersNS)
		kmend += ms(th.Behind.KmendNS)
	}
	if own > 0.1*queue || kmend < 200 || others > 0.4*queue || own+others+kmend > queue+1 {
		t.Errorf("of %.0f ms of waiting, %.0f were behind kmend, %.0f behind others and %.0f behind its own", queue, kmend, others, own)
	}
}

// What this process holds of the CPUs is nobody's; the kernel bills it for the same.
func TestWhatKmendHolds(t *testing.T) {
	w := rig.Start(t, "-mode", "sleep")
	var stop atomic.Bool
	go func() {
		opened(t, loaded(t), 0)
		for !stop.Load() { // burns a CPU
		}
	}()
	own := func() float64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return millis(time.Duration(u.Utime.Nano() + u.Stime.Nano()))
	}
	before, stolenBefore := own(), rig.Stolen(t)
	r := measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second)
	billed, stolen := own()-before, rig.Stolen(t)-stolenBefore
	stop.Store(true)
	if held := ms(r.KmendNS); held < 100 || held > billed+stolen+20 {
		t.Errorf("this process held CPUs for %.0f ms of 1000, the kernel billed %.0f with attaching and reading, and %.0f ms were stolen", held, billed, stolen)
	}
}
