package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

// shown is how many threads, groups, findings and alerts are listed at most.
const shown = 5

func verdictStyle(v incident.Verdict) style {
	switch v {
	case incident.Confirmed:
		return red
	case incident.Clean:
		return green
	}
	return yellow
}

// root labels the first finding.
const root = "Cause"

// state is the ledger state that a cause is read from.
func state(c incident.Cause) incident.State {
	switch c {
	case incident.CPUThrottled:
		return incident.Throttled
	case incident.CPUSaturated:
		return incident.RunQueue
	case incident.CPUBusy, incident.CPUSteal:
		return incident.OnCPU
	case incident.DiskLatency:
		return incident.IO
	case incident.MemReclaim:
		return incident.Reclaim
	case incident.LockKernel:
		return incident.KernelLock
	case incident.LockUser:
		return incident.UserLock
	}
	return ""
}

// idle says whether a state does not count as wanting to make progress.
func idle(s incident.State) bool { return s == incident.Sleep || s == incident.UserLock }

func active(states map[incident.State]float64) (ms float64) {
	for s, v := range states {
		if !idle(s) {
			ms += v
		}
	}
	return ms
}

// diagnosis writes the verdict with its findings, the evidence they cite and the ledger.
func (p *page) diagnosis(d incident.Diagnosis) {
	var cause incident.Cause
	for i, f := range d.Findings {
		if i == shown {
			p.field("", 1, dim(fmt.Sprintf("and %d more", len(d.Findings)-shown)))
			break
		}
		label := "Also"
		if i == 0 {
			label, cause = root, f.Cause
		}
		p.finding(label, d, f)
	}
	if len(d.Findings) == 0 {
		p.field("Verdict", 0, in(verdictStyle(d.Verdict), string(d.Verdict)))
	}
	p.past(d)
	p.ledger(d, cause)
}

// past marks what was recorded, and shows the other window that was asked.
func (p *page) past(d incident.Diagnosis) {
	if d.Window.Recorded {
		p.field("Recorded", 0, in(yellow, between(d.Window)), plain(" by the flight recorder; what it found may be over"))
	}
	if b := d.Baseline; b != nil {
		total := active(b.States)
		text := fmt.Sprintf("%s: active %s ms in %s s", between(b.Window), number(math.Round(total)), number(math.Round(b.Window.Seconds)))
		for _, s := range incident.States() {
			if v := b.States[s]; total > 0 && v >= total/100 {
				text += fmt.Sprintf(" · %s %s", s, percent(v/total))
			}
		}
		p.field("Before", 4, dim(text))
	}
	if also := d.Also; also != nil && len(also.Findings) > 0 {
		label, when := "Now", ""
		if also.Window.Recorded {
			label, when = "Recorded", between(also.Window)+": "
		}
		f := also.Findings[0]
		said := string(f.Verdict)
		if f.Cause != "" {
			said = string(f.Cause) + " " + said
		}
		p.field(label, 0, plain(when), in(verdictStyle(f.Verdict), said), plain(": "+f.Message))
	}
}

func between(w incident.Window) string {
	return fmt.Sprintf("%s to %s", w.Start.UTC().Format("15:04:05"), w.End().UTC().Format("15:04:05 MST"))
}

func (p *page) finding(label string, d incident.Diagnosis, f incident.Finding) {
	look := verdictStyle(f.Verdict)
	facts := []span{in(look, string(f.Verdict))}
	if f.Cause != "" {
		facts = []span{in(look, string(f.Cause)+" "+string(f.Verdict))}
		if f.Recorded {
			facts = append(facts, in(yellow, " (recorded)"))
		}
		if f.Share > 0 {
			facts = append(facts, plain(", "+percent(f.Share)+" of the active time"))
		}
		if f.Threshold != "" {
			facts = append(facts, dim(" (needs "+f.Threshold+")"))
		}
	}
	if label != root {
		p.field(label, 0, append([]span{plain(f.Message + " (")}, append(facts, plain(")"))...)...)
		return
	}
	p.field(label, 0, bold(f.Message))
	p.field("", 0, facts...)
	var cited []string
	var details []incident.Evidence
	for _, id := range f.Evidence {
		if i := slices.IndexFunc(d.Evidence, func(e incident.Evidence) bool { return e.ID == id }); i >= 0 {
			e := d.Evidence[i]
			cited = append(cited, evidence(e))
			if len(e.Stack)+len(e.Histogram) > 0 {
				details = append(details, e)
			}
		}
	}
	if cited != nil {
		p.field("Evidence", 6, dim(strings.Join(cited, " · ")))
	}
	for _, e := range details[:min(len(details), shown)] {
		p.detail(e)
	}
}

// frames is how many of a stack's innermost functions are shown.
const frames = 8

// detail writes where in the code a piece of evidence was measured, and how its
// single measurements are spread.
func (p *page) detail(e incident.Evidence) {
	if len(e.Stack) > 0 {
		text := strings.Join(e.Stack[:min(len(e.Stack), frames)], " ← ")
		if more := len(e.Stack) - frames; more > 0 {
			text += fmt.Sprintf(" ← and %d more", more)
		}
		p.field("Stack", 4, plain(e.ID+" "), dim(text))
	}
	var parts []string
	for _, b := range e.Histogram {
		if b.Count > 0 {
			parts = append(parts, fmt.Sprintf("%d up to %s", b.Count, number(b.UpTo)))
		}
	}
	if parts != nil {
		p.field("Spread", 2, plain(e.ID+" "), dim(strings.Join(parts, " · ")+" "+e.Unit))
	}
}

func evidence(e incident.Evidence) string {
	text := fmt.Sprintf("%s %s %s %s", e.ID, e.Metric, number(e.Value), e.Unit)
	if e.Subject != "" {
		text += " of " + e.Subject
	}
	if e.Lost > 0 {
		text += fmt.Sprintf(" (%d events lost)", e.Lost)
	}
	return text
}

// ledger draws one line a state: its share of the active time as a bar, in
// milliseconds and in percent. Idle states have no bar, they are no part of it.
func (p *page) ledger(d incident.Diagnosis, cause incident.Cause) {
	l := d.Ledger
	if l.WallMS == 0 {
		return
	}
	total := active(l.States)
	p.blank()
	p.flow("", 0, bold("Where the time went"), dim(fmt.Sprintf("  %s, %s from %s UTC, %s active = 100%%",
		counted(l.Threads, "thread"), seconds(d.Window.Seconds), d.Window.Start.UTC().Format(time.TimeOnly), ms(total))))
	const name = gutter + 2 // and 10 for milliseconds, 6 for percent, 2 for the mark
	room := p.width - 2 - name - 10 - 6 - 2
	for _, s := range incident.States() {
		v := l.States[s]
		label, figure := "  "+pad(string(s), name), padLeft(ms(v), 10)
		switch share := v / max(total, 1e-9); {
		case idle(s) && cause != "" && s == state(cause):
			p.line(in(red.bold(), label+pad("", room)+figure+padLeft("idle", 6)+" ◀"))
		case idle(s):
			p.line(dim(label+pad("", room)+figure), dim(padLeft("idle", 6)))
		case v == 0:
			p.line(dim(label + pad("", room) + figure + padLeft("0%", 6)))
		case cause != "" && s == state(cause):
			p.line(in(red.bold(), label), in(red, bar(share, room)), in(red.bold(), figure+padLeft(percent(share), 6)+" ◀"))
		default:
			p.line(plain(label), in(cyan, bar(share, room)), plain(figure+padLeft(percent(share), 6)))
		}
	}
}

func seconds(s float64) string { return number(s) + " s" }

// account writes what a diagnosis says beside its verdict: the busiest threads
// and groups, the probes that had trouble, and what it cost.
func (p *page) account(d incident.Diagnosis) {
	p.blank()
	if len(d.Ledger.Top) > 1 {
		for i, t := range d.Ledger.Top[:min(shown, len(d.Ledger.Top))] {
			label := ""
			if i == 0 {
				label = "Threads"
			}
			p.field(label, 1, plain(fmt.Sprintf("%s (%d): %s", t.Comm, t.TID, split(t.States))))
		}
	}
	if len(d.Ledger.Groups) > 1 {
		for i, g := range d.Ledger.Groups[:min(shown, len(d.Ledger.Groups))] {
			label := ""
			if i == 0 {
				label = "Groups"
			}
			p.field(label, 2, plain(fmt.Sprintf("%s, %s: %s", g.Cgroup, counted(g.Threads, "thread"), split(g.States))))
		}
	}
	p.trouble(d)
	if d.Node.Name != "" {
		p.field("Node", 2, plain(node(d.Node)))
	}
	p.field("Cost", 1, dim(fmt.Sprintf("%s CPU, answer after %s", ms(d.Cost.CPUMS), ms(d.Cost.WallMS))))
}

func node(n incident.Node) string {
	text := n.Name
	var more []string
	if n.Kernel != "" {
		more = append(more, "Linux "+n.Kernel)
	}
	if n.CPUs > 0 {
		more = append(more, counted(n.CPUs, "CPU"))
	}
	if more != nil {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// split names the states of one thread or group that are worth a word, longest first.
func split(states map[incident.State]float64) string {
	order := slices.Clone(incident.States())
	slices.SortStableFunc(order, func(a, b incident.State) int {
		switch x, y := states[a], states[b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	var parts []string
	for _, s := range order[:3] {
		if states[s] > 0 {
			parts = append(parts, string(s)+" "+ms(states[s]))
		}
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// trouble writes the probes that could not measure everything.
func (p *page) trouble(d incident.Diagnosis) {
	for _, probe := range d.Probes {
		if probe.Status == incident.ProbeOK && probe.Lost == 0 {
			continue
		}
		text := probe.Name + " " + string(probe.Status)
		if probe.Reason != "" {
			text += ": " + probe.Reason
		}
		if probe.Lost > 0 {
			text += fmt.Sprintf(" (%d events lost)", probe.Lost)
		}
		p.field("Probe", 3, in(yellow, text))
	}
	if len(d.NotMeasured) > 0 {
		names := make([]string, len(d.NotMeasured))
		for i, c := range d.NotMeasured {
			names[i] = string(c)
		}
		p.field("Unmeasured", 3, in(yellow, strings.Join(names, ", ")))
	}
}
