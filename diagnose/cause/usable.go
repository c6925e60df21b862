package cause

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// notNumbers says what in m is no finite, non-negative number; empty if nothing.
func notNumbers(m incident.Measurement) string {
	bad := func(what string, vs ...float64) string {
		for _, v := range vs {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || v > 1e15 {
				return fmt.Sprintf("the measurement is not valid: %s is %v", what, v)
			}
		}
		return ""
	}
	why := []string{
		bad("window.seconds", m.Window.Seconds),
		bad("node.cpus", float64(m.Node.CPUs)),
		bad("ledger", m.Ledger.WallMS, float64(m.Ledger.Threads)),
		bad("cost", m.Cost.CPUMS, m.Cost.WallMS),
	}
	states := func(what string, s map[incident.State]float64) {
		for _, name := range slices.Sorted(maps.Keys(s)) {
			why = append(why, bad(what+"."+string(name), s[name]))
		}
	}
	states("ledger.states", m.Ledger.States)
	for _, t := range m.Ledger.Top {
		why = append(why, bad("ledger.top.wall_ms", t.WallMS))
		states("ledger.top.states", t.States)
	}
	for _, g := range m.Ledger.Groups {
		why = append(why, bad("ledger.groups.wall_ms", g.WallMS))
		states("ledger.groups.states", g.States)
	}
	for _, e := range m.Evidence {
		why = append(why, bad("evidence "+e.ID, e.Value))
	}
	for _, w := range why {
		if w != "" {
			return w
		}
	}
	return ""
}

// unusable says why nothing can be concluded from m; empty if something can.
func unusable(m incident.Measurement, f facts) string {
	var measured bool
	for _, p := range m.Probes {
		if p.Name != "threads" {
			continue
		}
		if p.Status != incident.ProbeOK {
			return probeTrouble(p)
		}
		if p.Lost > 0 {
			return fmt.Sprintf("the probe threads lost %d events: the ledger has holes", p.Lost)
		}
		measured = true
	}
	switch wall, total := m.Ledger.WallMS, sum(m.Ledger.States); {
	case !measured:
		return "nothing was measured: the probe threads did not run"
	case m.Window.Seconds < minWindow:
		return fmt.Sprintf("the window of %.0f ms is too short; measure at least %.0f ms", f.window, minWindow*1000)
	case m.Node.CPUs < 1:
		return "the measurement does not say how many CPUs the node has"
	case m.Window.Recorded && wall == 0:
		return fmt.Sprintf("no thread of the target was active in the %.0f ms recorded", f.window)
	case m.Ledger.Threads == 0 || wall == 0:
		return fmt.Sprintf("the target had no thread in the %.0f ms measured", f.window)
	case math.Abs(total-wall) > max(ledgerSlack, ledgerError*wall):
		return fmt.Sprintf("the ledger does not add up: %.0f of %.0f ms", total, wall)
	}
	for _, e := range m.Evidence {
		if e.Lost > 0 && ledger(e.Probe) {
			return fmt.Sprintf("the probe %s lost %d events", e.Probe, e.Lost)
		}
	}
	return ""
}

// ledger reports whether everything rests on a probe. Without one of the others
// only its own causes are not measured.
func ledger(probe string) bool { return probe == "threads" || probe == "cgroup" }

// sound is the evidence that something may be concluded from: a probe that was
// stopped or that lost events has seen a part, and nobody knows which.
func sound(m incident.Measurement) []incident.Evidence {
	return slices.DeleteFunc(slices.Clone(m.Evidence), func(e incident.Evidence) bool {
		return !ledger(e.Probe) && (e.Lost > 0 || !worked(m, e.Probe))
	})
}

func probeTrouble(p incident.ProbeStatus) string {
	s := fmt.Sprintf("the probe %s is %s", p.Name, p.Status)
	if p.Reason != "" {
		s += ": " + strings.TrimSuffix(p.Reason, ".")
	}
	return s
}

func inconclusive(why string) incident.Finding {
	return incident.Finding{Verdict: incident.Inconclusive, Message: why}
}

// clean says what was measured and that none of it is over its threshold.
func clean(f facts) incident.Finding {
	fd := incident.Finding{Verdict: incident.Clean, Evidence: f.cite("active")}
	if f.active < idleShare*f.window {
		fd.Message = fmt.Sprintf("threads were active %s of %s ms", ms(f.active), ms(f.window))
		return fd
	}
	var parts []string
	for _, s := range []incident.State{incident.OnCPU, incident.RunQueue, incident.Throttled, incident.IO, incident.Reclaim, incident.KernelLock} {
		parts = append(parts, fmt.Sprintf("%s %.0f%%", words[s], 100*f.share(f.state(s))))
		fd.Evidence = append(fd.Evidence, f.cite(string(s))...)
	}
	fd.Message = fmt.Sprintf("nothing is over its threshold; threads were active %s ms%s: %s",
		ms(f.active), f.inThreads(), strings.Join(parts, ", "))
	if kmend := f.behindKmend(); f.over(kmend, queueShare) {
		fd.Message += fmt.Sprintf("; %s ms of the run queue are kmend's own doing: it ran there while it measured", ms(kmend))
		fd.Evidence = append(fd.Evidence, f.cite("behind_kmend")...)
	}
	return fd
}
