package threads

import (
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

const window = 2 * time.Second

// account compares the busiest thread with the kernel's own throttled time of a
// group whose threads are all on one CPU: while the group is throttled, so is the
// thread, unless it does not want to run. (The runtime's own threads are throttled
// in turn, for less.) most is the kernel's figure, a period's rest included.
func account(t *testing.T, g *rig.Group, target probe.Target) (busiest sums, most float64) {
	t.Helper()
	stop := watch(g)
	r := measure(t, target, window)
	least, most := stop(r.Start, r.Start.Add(r.Window))
	ledger(t, r)
	for _, th := range r.Threads {
		if ms(th.StateNS[onCPU]) > busiest.state[onCPU] {
			busiest = sums{threads: 1, wall: ms(th.WallNS)}
			for i, ns := range th.StateNS {
				busiest.state[i] = ms(ns)
			}
		}
	}
	t.Logf("the busiest: %v; the kernel says throttled for %.0f to %.0f ms", busiest, least, most)
	got, idle := busiest.state[throttled], busiest.state[userLock]+busiest.state[sleep]
	if got > 1.02*most+10 || got+idle < 0.98*least-10 {
		t.Errorf("throttled for %.0f ms, the kernel says %.0f to %.0f", got, least, most)
	}
	return busiest, most
}

func TestThrottled(t *testing.T) {
	g := rig.NewGroup(t).Quota(0.3)
	rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-cpus", "0")
	if s, _ := account(t, g, of(g)); s.state[throttled] < 0.25*millis(window) {
		t.Errorf("throttled for %.0f ms with a quota of 0.3 CPU", s.state[throttled])
	}
}

func TestThrottledInSeveralThreads(t *testing.T) {
	g := rig.NewGroup(t).Quota(0.4)
	w := rig.Start(t, "-mode", "burn", "-threads", "4", "-cgroup", g.Path)
	before, billed := rig.Stolen(t), w.BilledMS()
	s := ledger(t, measure(t, of(g), window))
	billed = w.BilledMS() - billed
	// Four threads want CPU all the time and get what the quota gives them together. What
	// a hypervisor takes from a thread on a CPU is the thread's time and is not billed.
	if took := rig.Stolen(t) - before; s.state[onCPU] > 1.05*billed+10+took {
		t.Errorf("on CPU for %.0f ms, the kernel billed %.0f ms and %.0f ms were stolen", s.state[onCPU], billed, took)
	}
	if s.state[throttled] < millis(window) {
		t.Errorf("throttled for %.0f ms in four threads", s.state[throttled])
	}
}

// A pod's limit is above its containers.
func TestParentQuotaThrottlesChild(t *testing.T) {
	parent := rig.NewGroup(t).Quota(0.3)
	child := parent.Child("container")
	rig.Start(t, "-mode", "burn", "-cgroup", child.Path, "-cpus", "0")
	if s, _ := account(t, parent, of(child)); s.state[throttled] < 0.25*millis(window) {
		t.Errorf("throttled for %.0f ms with a quota of 0.3 CPU above", s.state[throttled])
	}
}

func TestNeighbourOfThrottledIsNot(t *testing.T) {
	g, neighbour := rig.NewGroup(t).Quota(0.2), rig.NewGroup(t)
	rig.Start(t, "-mode", "burn", "-threads", "2", "-cgroup", g.Path)
	rig.Start(t, "-mode", "burn", "-cgroup", neighbour.Path)
	s := ledger(t, measure(t, of(neighbour), window))
	if s.state[throttled] != 0 {
		t.Errorf("no quota, and throttled for %.1f ms", s.state[throttled])
	}
}

// Throttled and saturated at once: both are true, and neither is the other.
func TestThrottledOnSaturatedCPU(t *testing.T) {
	g := rig.NewGroup(t).Quota(0.2)
	rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-cpus", "0")
	for range 2 { // its share is a third of the CPU: more than the quota, and not at once
		rig.Start(t, "-mode", "burn", "-threads", "2", "-cgroup", rig.NewGroup(t).Path, "-cpus", "0")
	}
	s, _ := account(t, g, of(g))
	if s.state[throttled] < 0.1*millis(window) || s.state[runQueue] < 0.1*millis(window) {
		t.Errorf("throttled %.0f ms, run queue %.0f ms: both should be there", s.state[throttled], s.state[runQueue])
	}
}

// A quota that the group cannot reach, because others hold the CPU.
func TestQuotaNotReachedOnSaturatedCPU(t *testing.T) {
	g, noise := rig.NewGroup(t).Quota(0.95), rig.NewGroup(t)
	rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-cpus", "0")
	rig.Start(t, "-mode", "burn", "-threads", "3", "-cgroup", noise.Path, "-cpus", "0")
	s, kernel := account(t, g, of(g))
	// In a VM on a busy host a timer that comes late throttles after all.
	if kernel < 10 && s.state[throttled] > 20 {
		t.Errorf("throttled for %.1f ms by a quota it does not reach", s.state[throttled])
	}
	if s.state[runQueue] < 0.25*(millis(window)-kernel) {
		t.Errorf("run queue %.0f ms on a CPU with three others", s.state[runQueue])
	}
}

// Who holds the CPUs is counted apart from the ledger; for groups that are both
// in the target, the two must agree.
func TestHoldersNameTheNeighbour(t *testing.T) {
	g, noise := rig.NewGroup(t), rig.NewGroup(t)
	rig.Start(t, "-mode", "burn", "-cgroup", g.Path, "-cpus", "0")
	rig.Start(t, "-mode", "burn", "-threads", "3", "-cgroup", noise.Path, "-cpus", "0")
	r := measure(t, probe.Target{Cgroups: []string{g.Path, noise.Path}}, window)
	ledger(t, r)
	held, ran := map[uint64]float64{}, map[uint64]float64{}
	for _, h := range r.Holders {
		held[h.CgroupID] = ms(h.OnCPUNS)
	}
	for _, th := range r.Threads {
		ran[th.CgroupID] += ms(th.StateNS[onCPU])
	}
	if len(ran) != 2 {
		t.Errorf("threads of groups %v, want two", ran)
	}
	for _, id := range []uint64{g.ID(), noise.ID()} {
		if ran[id] < 10 || !near(held[id], ran[id], 0.01, 1) {
			t.Errorf("group %d held CPUs for %.1f ms, its threads were on them for %.1f", id, held[id], ran[id])
		}
	}
}
