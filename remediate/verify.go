package remediate

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// minActivity is the least activity in the second window, as a fraction of the
// first one's (both a second of the window), from which anything can be said: a
// target that stopped working is not throttled either, and that is no success.
const minActivity = 0.01

// epsilon forgives the rounding of shares, so that a fall by exactly the margin counts.
const epsilon = 1e-9

// Verify compares the plan's cause in the measurements before and after it. It
// is pure. Better is true only when all of this holds:
//
//   - the plan's margin is a fraction: 0 < plan.Verify.Improve <= 1;
//   - the second measurement says something: its verdict is confirmed or clean
//     (inconclusive, or none, is never better), it is of the same pod, it has the
//     cause's ledger state, and the target did not stop working;
//   - the cause's share fell by at least that fraction of itself:
//     after <= before x (1 - Improve);
//   - the second measurement does not confirm the cause any more. A share that
//     fell from 0.90 to 0.17 and is still over the threshold is Improved and not
//     a fix: where it stays so it is put back, and a person decides with both
//     numbers in hand.
//
// Another cause that is confirmed afterwards does not count against the plan
// (what was throttled may now be busy), but Reason names it.
//
// The share is state / active: thread-milliseconds in the cause's ledger state
// over those in every state but sleep and user_lock. It is read from the
// evidence of the probe "threads", else from the ledger, so that it is known
// also when the cause is no finding. A cause without a ledger state has the share
// that its finding states, and 0 where it was looked for and not found.
func Verify(plan incident.Plan, before, after incident.Diagnosis) incident.Verification {
	v := incident.Verification{Cause: plan.Cause, Diagnosis: after}
	name, comparable := what(plan.Cause)
	if !comparable {
		v.Reason = fmt.Sprintf("cause %q has no share that can be compared", plan.Cause)
		return v
	}
	b, measuredBefore := shareOf(before, plan.Cause)
	if !measuredBefore {
		// The finding that the plan was made for states the share too.
		f, found := before.Finding(plan.Cause)
		b, measuredBefore = reading{share: f.Share}, found
	}
	a, measuredAfter := shareOf(after, plan.Cause)
	v.Before, v.After = b.share, a.share

	var problems []string
	fail := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	improve := plan.Verify.Improve
	if !(improve > 0 && improve <= 1) {
		fail("the plan's margin %v is out of bounds; allowed: more than 0, at most 1", improve)
	}
	switch {
	case after.Verdict != incident.Confirmed && after.Verdict != incident.Clean:
		fail("the second measurement is inconclusive%s", why(after))
	case podChanged(before, after):
		fail("the second measurement is of another pod (uid %s, was %s)", after.Target.PodUID, before.Target.PodUID)
	case !measuredBefore:
		fail("the first measurement has no share of %s", name)
	case !measuredAfter:
		fail("the second measurement has no share of %s", name)
	case a.active == 0 || a.active < minActivity*b.active:
		fail("the target was idle in the second window (active %.0f ms a second, was %.0f)", a.active, b.active)
	default:
		if v.Improved = b.share > 0 && a.share <= b.share*(1-improve)+epsilon; !v.Improved {
			fail("it did not")
		}
		if _, still := after.Finding(plan.Cause); still {
			fail("%s is still confirmed", plan.Cause)
		}
	}
	v.Better = len(problems) == 0
	v.Reason = fmt.Sprintf("%s share %s -> %s (must fall by %s%%)", name, show(b.share, measuredBefore), show(a.share, measuredAfter), percent(improve))
	if len(problems) > 0 {
		v.Reason += ": " + strings.Join(problems, "; ")
	} else if f, ok := after.RootCause(); ok {
		v.Reason += fmt.Sprintf("; now confirmed: %s", f.Cause)
	}
	return v
}

// Verify is the function Verify, as internal/respond's Executor has it.
func (e *Executor) Verify(plan incident.Plan, before, after incident.Diagnosis) incident.Verification {
	return Verify(plan, before, after)
}

// states has the ledger state whose share a cause is measured by. The other causes
// are measured by the share that their finding states.
var states = map[incident.Cause]incident.State{
	incident.CPUThrottled: incident.Throttled,
	incident.CPUSaturated: incident.RunQueue,
	incident.CPUBusy:      incident.OnCPU,
	incident.DiskLatency:  incident.IO,
	incident.MemReclaim:   incident.Reclaim,
	incident.LockKernel:   incident.KernelLock,
}

// what names the share that a cause is compared by. A process that was killed for
// want of memory has none: that nobody was killed in the seconds of a second window
// says nothing.
func what(c incident.Cause) (name string, comparable bool) {
	if s, ok := states[c]; ok {
		return string(s), true
	}
	return string(c), slices.Contains(incident.Causes(), c) && c != incident.MemOOM
}

// reading is a share, and the active thread-milliseconds in a second of the window.
type reading struct{ share, active float64 }

// shareOf reads the share of a cause: that of its ledger state, or else the one
// its finding states. A cause that was looked for and not found is under its
// threshold, which counts as 0. ok is false when d does not say.
func shareOf(d incident.Diagnosis, c incident.Cause) (r reading, ok bool) {
	active, okActive := evidence(d, "active")
	if slices.Contains(d.NotMeasured, c) {
		return reading{}, false
	}
	s, inLedger := states[c]
	if !inLedger {
		f, _ := d.Finding(c)
		return perSecond(reading{f.Share, active}, d), okActive && !bad(active)
	}
	in, okState := evidence(d, string(s))
	if !okState || !okActive {
		if in, okState = d.Ledger.States[s]; !okState {
			return reading{}, false
		}
		active = 0
		for state, ms := range d.Ledger.States {
			if state != incident.Sleep && state != incident.UserLock {
				active += ms
			}
		}
	}
	if bad(in) || bad(active) || in > active*1.01 {
		return reading{}, false
	}
	if active > 0 {
		r.share = min(in/active, 1) // the two are rounded apart
	}
	r.active = active
	return perSecond(r, d), true
}

func perSecond(r reading, d incident.Diagnosis) reading {
	if d.Window.Seconds > 0 {
		r.active /= d.Window.Seconds
	}
	return r
}

func bad(ms float64) bool { return ms < 0 || math.IsNaN(ms) || math.IsInf(ms, 0) }

// evidence is the value of a metric of the probe "threads" about the whole target.
func evidence(d incident.Diagnosis, metric string) (ms float64, ok bool) {
	i := slices.IndexFunc(d.Evidence, func(e incident.Evidence) bool {
		return e.Probe == "threads" && e.Metric == metric && e.Subject == "" && e.Unit == "ms"
	})
	if i < 0 {
		return 0, false
	}
	return d.Evidence[i].Value, true
}

func podChanged(before, after incident.Diagnosis) bool {
	was, is := before.Target.PodUID, after.Target.PodUID
	return was != "" && is != "" && was != is
}

// why is the message of an inconclusive diagnosis, as ": message".
func why(d incident.Diagnosis) string {
	if len(d.Findings) == 0 || d.Findings[0].Message == "" {
		return ""
	}
	return ": " + d.Findings[0].Message
}

func show(share float64, ok bool) string {
	if !ok {
		return "unknown"
	}
	return fmt.Sprintf("%.2f", share)
}

func percent(f float64) string { return fmt.Sprintf("%.4g", f*100) }
