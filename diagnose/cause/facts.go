package cause

import (
	"maps"
	"math"
	"slices"

	"github.com/kmend/kmend/incident"
)

// facts is what the causes read out of a measurement. Times are milliseconds
// summed over the target's threads, CPUs are averages over the window.
type facts struct {
	m       incident.Measurement
	window  float64 // ms
	active  float64 // ms, every state but sleep and user_lock
	base    float64 // ms that shares are of: active, and what probes name inside sleep and user_lock
	threads int     // threads that were active
	cpus    float64 // CPUs the target may run on
	used    float64 // CPUs the target used
	waiting float64 // threads of the target that waited for a CPU, on average
	others  float64 // CPUs that others held, but for kmend
	kmend   float64 // CPUs that kmend held while it measured
	limits  []limit // of the target's groups, nearest first
}

// limit is one CPU quota above the target and how often it was hit.
type limit struct {
	cgroup             string
	quota              float64 // CPUs
	periods, throttled float64
	evidence           []string
}

func read(m incident.Measurement) facts {
	m.Evidence = sound(m)
	f := facts{m: m, window: m.Window.Seconds * 1000}
	f.active = activeOf(m.Ledger.States)
	f.base = f.active + f.labelled()
	f.threads = f.activeThreads()
	f.cpus = float64(m.Node.CPUs)
	if e, ok := f.find("threads", "cpus_allowed"); ok && e.Value > 0 && (f.cpus == 0 || e.Value < f.cpus) {
		f.cpus = e.Value
	}
	if f.window > 0 {
		f.used = f.state(incident.OnCPU) / f.window
		f.waiting = f.state(incident.RunQueue) / f.window
	}
	if e, ok := f.find("threads", "cpu_others"); ok {
		f.others = e.Value
	}
	if e, ok := f.find("threads", "cpu_kmend"); ok {
		f.kmend = min(max(0, e.Value), f.others)
		f.others -= f.kmend
	}
	f.limits = limits(m.Evidence)
	return f
}

// labelled is the time in sleep and user_lock, in ms, that a probe knows to be
// lost: a lock convoy is, an idle pool is not.
func (f facts) labelled() float64 {
	lost := 0.0
	for _, label := range labels {
		lost += label(f)
	}
	return min(lost, f.idle())
}

// labels are what the families know of the time in sleep and user_lock.
var labels = []func(facts) float64{convoyed, networkLost, databaseLost, pausedLost}

// idle is the time in which threads wanted nothing, as far as the ledger knows:
// no more than that can have been lost unseen. A recorded ledger has no such time:
// it is what is left of the threads that were active.
func (f facts) idle() float64 {
	if f.m.Window.Recorded {
		return max(0, float64(f.m.Ledger.Threads)*f.window-f.active)
	}
	return f.state(incident.Sleep) + f.state(incident.UserLock)
}

// behindOwn is the part of the run-queue wait, in ms, in which the target's own
// threads queue behind each other: one of them ran on the CPU that another waited for.
// A CPU that others hold is one on which a waiting thread could have run: what they
// hold comes first.
func (f facts) behindOwn() float64 {
	queue := f.state(incident.RunQueue)
	if f.crowded() {
		queue -= f.crowdedOut()
	}
	return max(0, min(queue, f.ranMeanwhile()))
}

// ranMeanwhile is how long threads of the target waited for a CPU on which another of
// its threads ran. A recorded ledger does not know: while one runs, all the others may
// wait for it (and a tenth longer, for the moments between).
func (f facts) ranMeanwhile() float64 {
	if own, ok := f.find("threads", "behind_own"); ok {
		return own.Value
	}
	return 1.1 * f.state(incident.OnCPU) * max(0, float64(f.threads-1))
}

// crowdedOut is the wait, in ms, that there would not be if others held no CPU that the
// target may use: each such CPU has a waiting thread that could run. It is not known
// which CPUs others hold: of a target that may not use all of them, what ran on the CPU
// that a thread waited for says more.
func (f facts) crowdedOut() float64 {
	if _, ok := f.find("threads", "behind_others"); ok && f.cpus < float64(f.m.Node.CPUs) {
		return 0
	}
	return min(f.waiting, f.heldByOthers()) * f.window
}

// behindOthers is the part that is others' doing: they ran on the CPU that a thread
// waited for, or on one that it might have had. Where it is not known who ran, a group
// whose CPUs others hold waits with all its threads.
func (f facts) behindOthers() float64 {
	if !f.crowded() {
		return 0
	}
	rest := f.state(incident.RunQueue) - f.behindOwn()
	if others, ok := f.find("threads", "behind_others"); ok {
		rest = min(rest, max(others.Value, f.crowdedOut()))
	}
	return rest
}

// behindNobody is the part that is neither.
func (f facts) behindNobody() float64 {
	return f.state(incident.RunQueue) - f.behindOwn() - f.behindOthers()
}

// unexplained is the part of that which neither the hypervisor explains nor the
// measurement itself: where kmend ran on the CPU that a thread waited for, the thread
// does not wait when nobody looks.
func (f facts) unexplained() float64 {
	rest := f.behindNobody()
	rest -= min(rest, f.behindKmend())
	if l := f.stolen(); f.stealCounts(l) {
		rest -= l.waited
	}
	return rest
}

// behindKmend is how long threads waited for a CPU on which kmend itself ran.
func (f facts) behindKmend() float64 {
	kmend, _ := f.find("threads", "behind_kmend")
	return kmend.Value
}

// crowded reports whether others hold enough of the CPUs for a wait to be their doing.
func (f facts) crowded() bool { return f.heldByOthers() >= saturatedOthers*f.cpus }

// idleCPUs reports whether the target may run on every CPU of the node and many of
// those have nothing to do.
func (f facts) idleCPUs() bool {
	idle, ok := f.find("threads", "cpu_idle")
	return ok && f.cpus >= float64(f.m.Node.CPUs) && idle.Value >= saturatedIdle*f.cpus
}

// heldByOthers is how many of the CPUs that the target may use others hold.
func (f facts) heldByOthers() float64 { return min(f.others, max(0, f.cpus-f.used)) }

func (f facts) state(s incident.State) float64 { return f.m.Ledger.States[s] }

func (f facts) share(ms float64) float64 {
	if f.base <= 0 {
		return 0
	}
	return min(1, max(0, ms/f.base))
}

// over reports whether ms is over both thresholds.
func (f facts) over(ms, share float64) bool {
	return ms >= f.floor() && f.share(ms) >= share
}

func (f facts) floor() float64 { return minDuration * f.window / 3000 }

func (f facts) find(probe, metric string) (incident.Evidence, bool) {
	i := slices.IndexFunc(f.m.Evidence, func(e incident.Evidence) bool {
		return e.Probe == probe && e.Metric == metric
	})
	if i < 0 {
		return incident.Evidence{}, false
	}
	return f.m.Evidence[i], true
}

// cite gives the ids of the threads probe's evidence for these metrics.
func (f facts) cite(metrics ...string) []string { return f.citeOf("threads", metrics...) }

func (f facts) citeOf(probe string, metrics ...string) []string {
	var ids []string
	for _, e := range f.m.Evidence {
		if e.Probe == probe && e.ID != "" && slices.Contains(metrics, e.Metric) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (f facts) activeThreads() int {
	if e, ok := f.find("threads", "active_threads"); ok {
		return int(min(e.Value, math.MaxInt32))
	}
	n := 0
	for _, t := range f.m.Ledger.Top {
		if activeOf(t.States) >= idleShare*f.window {
			n++
		}
	}
	return n
}

func activeOf(states map[incident.State]float64) float64 {
	return max(0, sum(states)-states[incident.Sleep]-states[incident.UserLock])
}

// sum adds in one order, so that the last bit does not depend on the map's.
func sum(states map[incident.State]float64) float64 {
	total := 0.0
	for _, s := range slices.Sorted(maps.Keys(states)) {
		total += states[s]
	}
	return total
}

// limits collects the cgroup probe's evidence by group, in the order given.
func limits(evidence []incident.Evidence) []limit {
	var out []limit
	for _, e := range evidence {
		if e.Probe != "cgroup" {
			continue
		}
		i := slices.IndexFunc(out, func(l limit) bool { return l.cgroup == e.Subject })
		if i < 0 {
			i = len(out)
			out = append(out, limit{cgroup: e.Subject})
		}
		switch e.Metric {
		case "quota":
			out[i].quota = e.Value
		case "nr_periods":
			out[i].periods = e.Value
		case "nr_throttled":
			out[i].throttled = e.Value
		}
		if e.ID != "" {
			out[i].evidence = append(out[i].evidence, e.ID)
		}
	}
	return slices.DeleteFunc(out, func(l limit) bool { return l.quota <= 0 })
}
