package cause

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Diagnose names the causes in a measurement. Findings are sorted by the share of
// the lost time that each explains, largest first, then the target's own work
// (cpu.busy), then doubts. There is at least one; the verdict is that of the first.
// Every evidence id that a finding cites is in the measurement.
func Diagnose(m incident.Measurement) incident.Diagnosis {
	d := incident.Diagnosis{
		APIVersion: incident.APIVersion,
		Kind:       "Diagnosis",
		Target:     m.Target,
		Node:       m.Node,
		Window:     m.Window,
		Baseline:   m.Baseline,
		Evidence:   m.Evidence,
		Ledger:     m.Ledger,
		Probes:     m.Probes,
		Cost:       m.Cost,
		Peers:      m.Peers,
	}
	if why := notNumbers(m); why != "" {
		// What is not a number is not worth repeating, and JSON has no word for it.
		d.Window.Seconds, d.Evidence, d.Ledger, d.Cost = 0, nil, incident.Ledger{}, incident.Cost{}
		return conclude(d, inconclusive(why))
	}
	d.NotMeasured = notMeasured(m)
	f := read(m)
	if why := unusable(m, f); why != "" {
		if fds := killed(f); len(fds) > 0 && fds[0].Verdict == incident.Confirmed { // the kernel says so itself, whatever else is known
			return conclude(d, fds...)
		}
		return conclude(d, inconclusive(why))
	}
	return conclude(d, judge(m, f)...)
}

// judge weighs causes against doubts.
func judge(m incident.Measurement, f facts) []incident.Finding {
	confirmed, doubts := causes(m, f)
	// Being on a CPU is no time lost, it is what is left when nothing loses any: last.
	bySize := func(a, b incident.Finding) int {
		if own := ownWork(a) - ownWork(b); own != 0 {
			return own
		}
		return cmp.Compare(b.Share, a.Share)
	}
	slices.SortStableFunc(confirmed, bySize)
	slices.SortStableFunc(doubts, bySize)
	switch {
	case len(doubts) > 0 && (len(confirmed) == 0 || doubts[0].Share > confirmed[0].Share):
		return []incident.Finding{outweighed(doubts, confirmed)}
	case len(confirmed) > 0:
		return append(confirmed, doubts...)
	}
	if why := incomplete(m); why != "" {
		return []incident.Finding{inconclusive("nothing is over its threshold, but " + why)}
	}
	return []incident.Finding{clean(f)}
}

func ownWork(fd incident.Finding) int {
	if fd.Cause == incident.CPUBusy {
		return 1
	}
	return 0
}

// families are the causes beside those of the CPU: what is confirmed, and doubts.
var families = []func(facts) []incident.Finding{steal, storage, reclaiming, killed, kernelLocks, convoy, networks, database, paused}

// causes asks every cause. A target that its quota or its neighbours stop is
// not busy with its own work; only queueing behind its own threads counts then.
func causes(m incident.Measurement, f facts) (confirmed, doubts []incident.Finding) {
	add := func(fd incident.Finding, ok bool) {
		switch {
		case ok && fd.Verdict == incident.Confirmed:
			confirmed = append(confirmed, fd)
		case ok:
			doubts = append(doubts, fd)
		}
	}
	add(throttled(m, f))
	add(saturated(f))
	add(queueing(f, len(confirmed) > 0))
	if len(confirmed) == 0 {
		add(busy(f))
	}
	add(waiting(f))
	for _, family := range families {
		for _, fd := range family(f) {
			add(fd, true)
		}
	}
	return confirmed, doubts
}

// outweighed makes one finding of the doubts and mentions the smaller causes:
// none of them may be acted on, so none is a finding of its own.
func outweighed(doubts, confirmed []incident.Finding) incident.Finding {
	f := doubts[0]
	parts := []string{f.Message}
	for _, also := range append(doubts[1:], confirmed...) {
		parts = append(parts, "also "+also.Message)
		f.Evidence = append(f.Evidence, also.Evidence...)
	}
	f.Message = strings.Join(parts, "; ")
	return f
}

func conclude(d incident.Diagnosis, findings ...incident.Finding) incident.Diagnosis {
	for i := range findings {
		findings[i].Evidence = inOrder(findings[i].Evidence, d.Evidence)
		findings[i].Recorded = d.Window.Recorded
	}
	d.Findings, d.Verdict = findings, findings[0].Verdict
	return d
}

// inOrder are the ids as the evidence has them, each once. It is never nil: in
// JSON it is a list.
func inOrder(ids []string, evidence []incident.Evidence) []string {
	out := []string{}
	for _, e := range evidence {
		if slices.Contains(ids, e.ID) && !slices.Contains(out, e.ID) {
			out = append(out, e.ID)
		}
	}
	return out
}
