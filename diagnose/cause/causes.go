package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// throttled: threads were runnable while a quota held them back, and the
// kernel's own count of throttled periods agrees. Without that second witness
// it is a doubt. Source: Documentation/scheduler/sched-bwc.rst.
func throttled(m incident.Measurement, f facts) (incident.Finding, bool) {
	t := f.state(incident.Throttled)
	if !f.over(t, throttledShare) {
		return incident.Finding{}, false
	}
	fd := incident.Finding{
		Cause:     incident.CPUThrottled,
		Verdict:   incident.Confirmed,
		Share:     f.share(t),
		Threshold: f.threshold(throttledShare),
		Evidence:  f.cite("throttled", "active"),
	}
	said := fmt.Sprintf("CPU throttled %s of %s ms%s", ms(t), ms(f.active), f.inThreads())
	w, ok := witness(f.limits)
	if !ok {
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message = said + ", but no cgroup agrees: " + disagreement(f.limits)
		return fd, true
	}
	whose := ""
	if m.Target.PID != 0 || !strings.HasSuffix(m.Target.Cgroup, w.cgroup) {
		whose = " of " + w.cgroup
	}
	fd.Message = fmt.Sprintf("%s (quota %s CPU%s, %.0f of %.0f periods)", said, exact(w.quota), whose, w.throttled, w.periods)
	fd.Evidence = append(fd.Evidence, w.evidence...)
	return fd, true
}

// witness is the quota that was hit in the largest part of its periods.
func witness(limits []limit) (limit, bool) {
	var best limit
	rate := func(l limit) float64 { return l.throttled / max(1, l.periods) }
	for _, l := range limits {
		if l.throttled > 0 && (best.throttled == 0 || rate(l) > rate(best)) {
			best = l
		}
	}
	return best, best.throttled > 0
}

func disagreement(limits []limit) string {
	if len(limits) == 0 {
		return "none above the target has a quota"
	}
	return fmt.Sprintf("the quota of %s was hit in 0 of %.0f periods", limits[0].cgroup, limits[0].periods)
}

// saturated: threads waited for CPUs that others held.
func saturated(f facts) (incident.Finding, bool) {
	wait := f.behindOthers()
	if !f.over(wait, saturatedShare) || wait < saturatedDuration*f.window/3000 {
		return incident.Finding{}, false
	}
	var holders []incident.Evidence
	for _, e := range f.m.Evidence {
		if e.Probe == "threads" && e.Metric == "cpu_holder" && e.Subject != "" {
			holders = append(holders, e)
		}
	}
	slices.SortStableFunc(holders, func(a, b incident.Evidence) int { return int(1e3*b.Value) - int(1e3*a.Value) })
	var names []string
	for _, e := range holders {
		if e.Value >= 0.05 || len(names) == 0 {
			names = append(names, group(e.Subject)+" "+about(e.Value))
		}
	}
	msg := fmt.Sprintf("waited %s of %s ms for a CPU%s", ms(f.state(incident.RunQueue)), ms(f.active), f.inThreads())
	if f.share(f.behindOwn()) >= 0.05 {
		msg += fmt.Sprintf(", %s of them behind others", ms(wait))
	}
	msg += fmt.Sprintf("; others hold %s of %s", about(f.others), plural(float64(f.m.Node.CPUs), "CPU"))
	if len(names) > 0 {
		msg += ": " + strings.Join(names, ", ")
	}
	// A target that may run on every CPU of the node is not crowded out while most of
	// them have nothing to do.
	if idle, _ := f.find("threads", "cpu_idle"); f.idleCPUs() {
		return incident.Finding{
			Verdict:  incident.Inconclusive,
			Share:    f.share(wait),
			Message:  msg + fmt.Sprintf("; but %s of them were idle, so that is not why", about(idle.Value)),
			Evidence: f.cite("run_queue", "behind_others", "active", "cpu_others", "cpu_holder", "cpu_idle"),
		}, true
	}
	return incident.Finding{
		Cause:     incident.CPUSaturated,
		Verdict:   incident.Confirmed,
		Share:     f.share(wait),
		Threshold: fmt.Sprintf("at least %.0f%% and %.0f ms, others hold at least %.0f%% of the CPUs", 100*saturatedShare, saturatedDuration*f.window/3000, 100*saturatedOthers),
		Message:   msg,
		Evidence:  f.cite("run_queue", "behind_others", "active", "cpu_others", "cpu_holder"),
	}, true
}

// queueing: more of the target's threads want a CPU than it may use, and they
// wait for each other. Beside another cause its share is that of the waiting
// alone, so that waits are ranked against waits.
func queueing(f facts, beside bool) (incident.Finding, bool) {
	queue, on := f.behindOwn(), f.state(incident.OnCPU)
	want := (f.active - f.state(incident.IO) - f.state(incident.KernelLock)) / f.window
	if !f.over(queue, queueShare) || want < f.cpus || f.idleCPUs() { // bursts, and nothing to do between them
		return incident.Finding{}, false
	}
	fd := incident.Finding{
		Cause:     incident.CPUBusy,
		Verdict:   incident.Confirmed,
		Share:     f.share(queue),
		Threshold: f.threshold(queueShare),
		Evidence:  f.cite("on_cpu", "run_queue", "behind_own", "active", "cpus_allowed"),
		Message: fmt.Sprintf("%s threads want %s: on CPU %s and queueing behind each other %s of %s ms",
			about(want), plural(f.cpus, "CPU"), ms(on), ms(queue), ms(f.active)),
	}
	if !beside {
		fd.Share = f.share(on - f.notRun() + queue)
	}
	return f.withHot(fd), true
}

// busy: nothing held the target back and it wanted all that it may use. What it
// waited for others was under the threshold of cpu.saturated. What the hypervisor
// stole is another finding's.
func busy(f facts) (incident.Finding, bool) {
	on, stolen := f.state(incident.OnCPU)-f.collectorsWork(), f.notRun()
	if !f.over(on-stolen, busyShare) {
		return incident.Finding{}, false
	}
	fd := incident.Finding{
		Cause:     incident.CPUBusy,
		Verdict:   incident.Confirmed,
		Share:     f.share(on - stolen),
		Threshold: f.threshold(busyShare) + fmt.Sprintf(", a thread or the target wants at least %.0f%% of what it may use", 100*busyUse),
		Evidence:  f.cite("on_cpu", "active"),
	}
	own := fmt.Sprintf("on CPU %s of %s ms%s", ms(on), ms(f.active), f.inThreads())
	if stolen > 0 {
		own += fmt.Sprintf(", of which the hypervisor took %s", ms(stolen))
	}
	may, evidence := f.may()
	top := f.busiest()
	ran, waited := top.States[incident.OnCPU], top.States[incident.RunQueue]
	switch {
	// A wait for a CPU is wanting a CPU; it is not wanting more quota.
	case f.used >= busyUse*may, f.used+f.waiting >= busyUse*f.cpus:
		fd.Message = fmt.Sprintf("%s: it used %s of the %s it may use", own, about(f.used), plural(may, "CPU"))
		fd.Evidence = append(fd.Evidence, evidence...)
	case ran+waited >= busyUse*f.window:
		fd.Message = fmt.Sprintf("%s: thread %s (%d) ran for %s of %s ms", own, top.Comm, top.TID, ms(ran), ms(f.window))
		if waited >= 0.05*f.window {
			fd.Message += fmt.Sprintf(" and waited %s", ms(waited))
		}
	case f.comeAndGo() >= busyUse*f.window:
		fd.Message = fmt.Sprintf("%s: it wanted a CPU for %s ms, most of them in threads that came and went and did nothing else", own, ms(f.comeAndGo()))
		fd.Evidence = append(fd.Evidence, f.cite("ended_wall", "ended_wanted")...)
	default:
		return incident.Finding{}, false
	}
	return f.withHot(fd), true
}

// comeAndGo is how long the target's threads ran or waited for a CPU, where most of
// that was by threads that ended in the window and did nothing else: each is too
// short to be busy, and together they are. Evidence: ended_wall and ended_wanted, in
// ms of such threads, their lives and of those on_cpu and run_queue.
func (f facts) comeAndGo() float64 {
	wall, _ := f.find("threads", "ended_wall")
	wanted, _ := f.find("threads", "ended_wanted")
	all := f.state(incident.OnCPU) + f.state(incident.RunQueue)
	if wanted.Value < busyUse*wall.Value || wanted.Value < all/2 {
		return 0
	}
	return all
}

// withHot names the function in which most of the time on CPU went by, where it was
// sampled. Evidence of the probe profile (diagnose/agent/profile.go):
//
//	samples       how often a thread of the target was met
//	hot_function  % of the samples in which a function itself ran (subject), five at most
//	hot_stack     % of the samples with the same stack, five at most
func (f facts) withHot(fd incident.Finding) incident.Finding {
	samples, ok := f.find("profile", "samples")
	if !ok || samples.Value < minSamples {
		return fd
	}
	var top incident.Evidence
	for _, e := range f.m.Evidence {
		switch {
		case e.Probe != "profile":
		case e.Metric == "hot_function" && e.Value > top.Value:
			top = e
		case e.Metric == "hot_stack":
			fd.Evidence = append(fd.Evidence, e.ID)
		}
	}
	if top.Value >= 100*minHot {
		fd.Message += fmt.Sprintf("; %.0f%% of it in %s", min(100, top.Value), top.Subject)
		fd.Evidence = append(fd.Evidence, top.ID, samples.ID)
	}
	return fd
}

// may is how many CPUs the target may use: its CPUs or the smallest quota.
func (f facts) may() (cpus float64, evidence []string) {
	cpus = f.cpus
	for _, l := range f.limits {
		if l.quota < cpus {
			cpus, evidence = l.quota, l.evidence
		}
	}
	return cpus, evidence
}

// busiest is the thread that wanted a CPU longest.
func (f facts) busiest() incident.ThreadLedger {
	var best incident.ThreadLedger
	wants := func(t incident.ThreadLedger) float64 { return t.States[incident.OnCPU] + t.States[incident.RunQueue] }
	for _, t := range f.m.Ledger.Top {
		if wants(t) > wants(best) {
			best = t
		}
	}
	return best
}

// waiting is a doubt: waits for a CPU over the threshold of which no cause has
// enough of a part.
func waiting(f facts) (incident.Finding, bool) {
	unexplained := f.unexplained()
	if !f.over(unexplained, saturatedShare) {
		return incident.Finding{}, false
	}
	msg := fmt.Sprintf("waited %s of %s ms for a CPU%s, which neither others nor its own threads explain: others held %s of %s, %s of its threads were active on average",
		ms(unexplained), ms(f.active), f.inThreads(), about(f.others), plural(f.cpus, "CPU"), about(f.active/f.window))
	if f.kmend >= 0.05 {
		msg += fmt.Sprintf("; kmend itself held %s", about(f.kmend))
	}
	return incident.Finding{
		Verdict:  incident.Inconclusive,
		Share:    f.share(unexplained),
		Message:  msg,
		Evidence: f.cite("run_queue", "active", "cpu_others", "cpu_kmend"),
	}, true
}

// blocked is a doubt: a wait that no probe can name yet.
func blocked(f facts, s incident.State) (incident.Finding, bool) {
	t := f.state(s)
	if !f.over(t, blockedShare) {
		return incident.Finding{}, false
	}
	return incident.Finding{
		Verdict: incident.Inconclusive,
		Share:   f.share(t),
		Message: fmt.Sprintf("%s %s of %s ms%s, and no probe can name its cause yet",
			words[s], ms(t), ms(f.active), f.inThreads()),
		Evidence: f.cite(string(s), "active"),
	}, true
}
