package cause

import (
	"fmt"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe steal (diagnose/agent/steal.go), in ms:
//
//	stolen      what the hypervisor took from the CPUs that the target may run on
//	busy        what those CPUs ran for, without what was stolen
//	cpu_stolen  the same as stolen, of one CPU (subject "cpu3"); not used here
//	billed      CPU time that the kernel billed to those of the target's threads that
//	            lived through the window. Only where the kernel does not bill stolen time
//	billed_threads  how many those were
//
// Stolen time comes in hundredths of a second.

// loss is what the hypervisor took from the target.
type loss struct {
	ran      float64 // ms in which its threads were on a CPU that did not run
	waited   float64 // ms in which they waited for such a CPU behind nobody
	evidence []string
}

// stolen is the loss by the hypervisor; nothing is lost when it was not measured.
//
// A thread's time on a CPU contains what was stolen. Where the kernel bills exactly
// and every thread lived through the window, the difference to the ledger is the
// target's loss, as far as as much was stolen from its CPUs; elsewhere it is the part
// of the CPUs' time that was stolen. A woken thread waits in the queue of a CPU that
// the hypervisor does not run: waiting that nothing else explains is that, up to what
// was stolen.
func (f facts) stolen() loss {
	stolen, ok := f.find("steal", "stolen")
	busy, ok2 := f.find("steal", "busy")
	if !ok || !ok2 || stolen.Value <= 0 {
		return loss{}
	}
	on := f.state(incident.OnCPU)
	l := loss{evidence: []string{stolen.ID, busy.ID}}
	l.ran = on * stolen.Value / (stolen.Value + max(0, busy.Value))
	billed, ok := f.find("steal", "billed")
	threads, ok2 := f.find("steal", "billed_threads")
	if ok && ok2 && int(threads.Value) == f.m.Ledger.Threads {
		l.ran = max(0, on-billed.Value)
		l.evidence = append(l.evidence, billed.ID, threads.ID)
	}
	l.ran = min(l.ran, stolen.Value, on)
	l.waited = min(f.behindNobody(), stolen.Value-l.ran)
	return l
}

// steal confirms that the hypervisor took the CPU: a greater limit or fewer
// neighbours on this node change nothing about it.
func steal(f facts) []incident.Finding {
	l := f.stolen()
	lost := l.ran + l.waited
	if !f.stealCounts(l) {
		return nil
	}
	on := f.state(incident.OnCPU)
	msg := fmt.Sprintf("the hypervisor took %.0f%% of the CPU time: %s of %s ms on CPU%s were stolen", 100*l.ran/max(1, on), ms(l.ran), ms(on), f.inThreads())
	if l.waited >= f.floor() {
		msg += fmt.Sprintf(", and threads waited %s ms for CPUs that it did not run", ms(l.waited))
	}
	return []incident.Finding{{
		Cause:     incident.CPUSteal,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: fmt.Sprintf("at least %.0f%% and %.0f ms", 100*stealShare, f.stealFloor()),
		Message:   msg + "; raising limits will not help",
		Evidence:  append(f.cite("on_cpu", "run_queue", "active"), l.evidence...),
	}}
}

// stealCounts reports whether a loss is over both thresholds.
func (f facts) stealCounts(l loss) bool {
	lost := l.ran + l.waited
	return lost >= f.stealFloor() && f.share(lost) >= stealShare
}

func (f facts) stealFloor() float64 { return max(stealTicks, stealDuration*f.window/3000) }

// notRun is the part of the time on CPU that a confirmed theft explains.
func (f facts) notRun() float64 {
	if l := f.stolen(); f.stealCounts(l) {
		return l.ran
	}
	return 0
}
