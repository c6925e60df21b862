package cause

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe jvm, each with the subject "PID COLLECTOR":
//
//	gc_pause, gc_pauses, gc_longest  ms, number and longest of the safepoints with a collection, by
//	                                 the virtual machine's tracepoints; absent where it has none
//	gc_full                          collections of the whole heap
//	safepoint_other                  ms of the safepoints without a collection
//	heap_before, heap_after          MiB used, of the last collection
//	gc_counted, gc_counted_pauses    ms and number of the collections that ended, by its own counters
//	                                 (hsperfdata); absent where they cannot be read
//	gc_under_way                     one collection was under way from before the window until after it
//	gc_stall, gc_stalls, gc_stall_longest
//	                                 ms, number and longest of the times in which the collector ran or
//	                                 waited for a CPU and no thread of the application did, by the scheduler
//	application_cpu, collector_cpu, collector_cpu_stalled
//	                                 ms of CPU time: of the application's threads, of the collector's, and
//	                                 of those during stalls

// machine is a virtual machine, in ms. What is absent is negative.
type machine struct {
	pid, collector        string
	pause, counted, stall float64
	pauses, longest, full float64
	before, after         float64
	app, stalledOn        float64
	evidence              []string
}

func (f facts) machines() (out []*machine) {
	if !worked(f.m, "jvm") {
		return nil
	}
	for _, e := range f.m.Evidence {
		pid, collector, ok := strings.Cut(e.Subject, " ")
		if e.Probe != "jvm" || !ok {
			continue
		}
		i := slices.IndexFunc(out, func(m *machine) bool { return m.pid == pid })
		if i < 0 {
			i = len(out)
			out = append(out, &machine{pid: pid, collector: collector, pause: -1, counted: -1})
		}
		m := out[i]
		switch e.Metric {
		case "gc_pause":
			m.pause = e.Value
		case "gc_pauses":
			m.pauses = max(m.pauses, e.Value)
		case "gc_longest":
			m.longest = max(m.longest, e.Value)
		case "gc_full":
			m.full = e.Value
		case "heap_before":
			m.before = e.Value
		case "heap_after":
			m.after = e.Value
		case "gc_counted":
			m.counted = max(m.counted, e.Value)
		case "gc_counted_pauses":
			m.pauses = max(m.pauses, e.Value)
		case "gc_under_way":
			m.counted = f.window
		case "gc_stall":
			m.stall = e.Value
		case "gc_stall_longest":
			m.longest = max(m.longest, e.Value)
		case "application_cpu":
			m.app = e.Value
		case "collector_cpu_stalled":
			m.stalledOn = e.Value
		default:
			continue
		}
		if e.ID != "" {
			m.evidence = append(m.evidence, e.ID)
		}
	}
	return out
}

// agreed is how long the application stood still, as two of the three witnesses
// have it: the longest that two agree on. Counters have a collection in whole
// where it ends, so one pause more or less is no disagreement.
func (m *machine) agreed(window float64) (pause float64, ok bool) {
	said := []float64{m.pause, m.counted, m.stall}
	for i, a := range said {
		for _, b := range said[i+1:] {
			least, most := min(a, b), max(a, b)
			if least < 0 || most-least > max(gcTolerance*most, min(m.longest, least)) {
				continue
			}
			if best := least; !ok || best > pause {
				pause, ok = best, true
			}
		}
	}
	if ok && m.pause >= 0 && m.pause <= (1+gcTolerance)*pause { // it is the exact one
		pause = max(pause, m.pause)
	}
	return min(pause, window), ok
}

// worst is what the witness says who says most and is one of the virtual machine's own.
func (m *machine) worst(window float64) float64 { return min(window, max(m.pause, m.counted)) }

// waits is what a thread of the target wanted of a CPU for each ms that it got.
func (f facts) waits() float64 {
	on := f.state(incident.OnCPU)
	if on <= 0 {
		return 1
	}
	return 1 + (f.state(incident.RunQueue)+f.state(incident.Throttled))/on
}

// waitsForCollections reports whether a lock is one that threads queue for while
// they wait for a collection (HotSpot's own lock of the heap): it is held about as
// long as a pause lasts; where many then get it in turn only by the first of them,
// and it is not waited for at other times.
func (f facts) waitsForCollections(l userLock) bool {
	for _, m := range f.machines() {
		pause, ok := m.agreed(f.window)
		if !ok || !f.pausesCount(pause) || m.pauses <= 0 || !strings.HasSuffix(l.subject, "("+m.pid+")") {
			continue
		}
		least := pauseLock * pause / m.pauses
		if l.held/max(1, l.own) >= least || l.longestHeld >= least && l.contended <= pauseLocked*pause {
			return true
		}
	}
	return false
}

// stoodStill is for how long a lock's virtual machine stood still for collections.
func (f facts) stoodStill(l userLock) float64 {
	for _, m := range f.machines() {
		if pause, ok := m.agreed(f.window); ok && f.pausesCount(pause) && strings.HasSuffix(l.subject, "("+m.pid+")") {
			return pause
		}
	}
	return 0
}

// queued is how long threads waited at such locks, in ms.
func (f facts) queued(m *machine) (wait float64) {
	for _, l := range f.userLocks() {
		if strings.HasSuffix(l.subject, "("+m.pid+")") && l.isLock() && f.waitsForCollections(l) {
			wait += l.wait
		}
	}
	return wait
}

// stopped is what the application's threads lost to a pause: they would have wanted
// as much of each ms of it as they wanted of each ms beside it, and those that
// queued for the collection wanted it all the time. Nobody collects for a program
// that wants nothing, so one thread at least wanted each ms.
func (f facts) stopped(m *machine, pause float64) float64 {
	wanted := m.app * f.waits()
	beside := max(f.window-pause, 0.01*f.window)
	return min(max(wanted*pause/beside, pause, f.queued(m)), f.idle())
}

// collectorsWork is what the collectors' threads ran during stalls. It is no work of
// the application: it is why that stood still.
func (f facts) collectorsWork() float64 {
	work := 0.0
	for _, m := range f.machines() {
		if pause, ok := m.agreed(f.window); ok && f.pausesCount(pause) {
			work += m.stalledOn
		}
	}
	return min(work, f.state(incident.OnCPU))
}

// pausedLost is what pauses add to the base: what was lost in user_lock, without
// the work of the collector, which is in the base as if it were the application's.
func pausedLost(f facts) float64 {
	lost := 0.0
	for _, m := range f.machines() {
		if pause, ok := m.agreed(f.window); ok && f.pausesCount(pause) {
			lost += f.stopped(m, pause)
		}
	}
	return lost - min(f.collectorsWork(), 0.99*f.active)
}

func (f facts) pausesCount(pause float64) bool { return pause >= gcDuration*f.window/3000 }

// paused: the collector stopped the application.
func paused(f facts) (out []incident.Finding) {
	for _, m := range f.machines() {
		pause, ok := m.agreed(f.window)
		if ok && f.pausesCount(pause) {
			lost := f.stopped(m, pause)
			if f.share(lost) < gcShare {
				continue
			}
			out = append(out, incident.Finding{
				Cause:     incident.JVMGCPause,
				Verdict:   incident.Confirmed,
				Share:     f.share(lost),
				Threshold: fmt.Sprintf("at least %.0f%% of what its threads wanted and %.0f ms, by two of three witnesses", 100*gcShare, gcDuration*f.window/3000),
				Message:   m.says(f.window, pause),
				Evidence:  append(f.cite("on_cpu", "user_lock", "active"), m.evidence...),
			})
			continue
		}
		if worst := m.worst(f.window); !ok && f.pausesCount(worst) && f.share(f.stopped(m, worst)) >= gcShare {
			out = append(out, incident.Finding{
				Verdict: incident.Inconclusive,
				Share:   f.share(f.stopped(m, worst)),
				Message: fmt.Sprintf("Java virtual machine %s (%s) stood still for collections, or it did not: %s", m.pid, m.collector, m.witnesses()),
				Evidence: append(f.cite("on_cpu", "user_lock", "active"),
					m.evidence...),
			})
		}
	}
	return out
}

func (m *machine) says(window, pause float64) string {
	s := fmt.Sprintf("Java virtual machine %s (%s) stood still for collections %s of %s ms", m.pid, m.collector, ms(pause), ms(window))
	if m.pauses > 0 {
		s += fmt.Sprintf(", %s", plural(math.Round(m.pauses), "pause"))
		if m.longest > 0 {
			s += fmt.Sprintf(", the longest %s ms", ms(m.longest))
		}
	}
	if m.full > 0 {
		s += fmt.Sprintf(", %.0f of them of the whole heap", m.full)
	}
	if m.before > 0 {
		s += fmt.Sprintf("; the last one left %.0f of %.0f MiB", m.after, m.before)
	}
	return s + " (" + m.witnesses() + ")"
}

func (m *machine) witnesses() string {
	say := func(v float64) string {
		if v < 0 {
			return "nothing"
		}
		return ms(v) + " ms"
	}
	return fmt.Sprintf("its tracepoints say %s, its counters %s, the scheduler %s", say(m.pause), say(m.counted), say(m.stall))
}
