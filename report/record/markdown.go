package record

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/incident"
)

const (
	maxText   = 1000 // bytes of one text
	maxLabels = 50
)

// Markdown writes a record. Every text that is not kmend's own is code, in which nothing is
// markup: no link, no picture, no HTML, no mention.
func (r Record) Markdown(w io.Writer) error {
	p := &page{}
	p.line("# Incident %s", code(r.ID))
	p.line("")
	p.line("- Target: %s%s", code(r.Target), on(r.Node))
	p.line("- State: %s", code(string(cmp.Or(r.Outcome, incident.Outcome(r.Phase)))))
	if r.Reason != "" {
		p.line("- Why: %s", code(r.Reason))
	}
	p.line("- Received: %s", stamp(r.ReceivedAt))
	if !r.ClosedAt.IsZero() {
		p.line("- Closed: %s, after %s", stamp(r.ClosedAt), r.ClosedAt.Sub(r.ReceivedAt).Round(time.Millisecond))
	}
	if r.Trace != "" {
		p.line("- Trace: %s", code(r.Trace))
	}
	if r.Test {
		p.line("- A test alert: nothing was to be changed")
	}
	r.summary(p)
	r.alerts(p)
	r.found(p)
	r.decided(p)
	r.compared(p)
	p.head("Action items", len(r.ActionItems))
	for _, item := range r.ActionItems {
		p.line("- [ ] %s", code(item))
	}
	p.head("Timeline", len(r.Timeline))
	for _, e := range r.Timeline {
		p.line("- %s %s", e.At.UTC().Format("15:04:05.000"), code(cmp.Or(e.Message, e.Kind)))
	}
	r.related(p)
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}

func on(node string) string {
	if node == "" {
		return ""
	}
	return " on node " + code(node)
}

func (r Record) summary(p *page) {
	if r.Summary == nil {
		return
	}
	p.head("Summary", r.Summary.Len())
	for _, section := range r.Summary.Sections() {
		for _, s := range *section.Sentences {
			p.line("- %s (%s)", code(s.Text), code(strings.Join(s.Evidence, " ")))
		}
	}
	if r.Summary.By != "" {
		p.line("\nWritten by %s; what rests on no evidence was taken out.", code(r.Summary.By))
	}
}

func (r Record) alerts(p *page) {
	p.head("Alerts", len(r.Alerts))
	for _, a := range r.Alerts {
		p.line("- %s, %s since %s: %s", code(cmp.Or(a.Name(), "unnamed")), code(string(a.Status)), stamp(a.StartsAt), code(cmp.Or(a.Annotations["summary"], a.Annotations["description"])))
		labels := slices.Sorted(maps.Keys(a.Labels))
		for _, name := range labels[:min(len(labels), maxLabels)] {
			p.line("  - %s", code(name+"="+a.Labels[name]))
		}
	}
}

func (r Record) found(p *page) {
	p.head("What was found", len(r.Findings)+len(r.Way)+len(r.Said))
	for i, h := range r.Way {
		p.line("%d. %s, %s: %s", i+1, code(h.Target.String()), code(string(h.Verdict)), code(h.Message))
	}
	if len(r.Way) > 0 {
		p.line("") // ends the numbered list
	}
	if r.Extent != nil {
		p.line("- Extent: %s", code(r.Extent.Message))
	}
	for _, f := range r.Findings {
		p.line("- %s %s: %s (%.0f%%, evidence %s)", code(string(f.Verdict)), code(string(f.Cause)), code(f.Message), 100*f.Share, code(strings.Join(f.Evidence, " ")))
	}
	for _, o := range r.Said {
		p.line("- %s: %s", code(o.Source), code(o.Message))
	}
	for _, s := range r.Sources {
		if s.Status != incident.SourceOK {
			p.line("- %s is %s: %s", code(s.Name), code(string(s.Status)), code(s.Reason))
		}
	}
}

func (r Record) decided(p *page) {
	if r.Plan != nil {
		p.head("Plan", 1)
		p.line("Runbook %s", code(r.Plan.Runbook))
		p.line("")
		for i, s := range r.Plan.Steps {
			text := s.Action
			if s.Preview != nil {
				text = fmt.Sprintf("%s: %s → %s", s.Preview.Summary, s.Preview.Before, s.Preview.After)
			}
			p.line("%d. %s", i+1, code(text))
		}
	}
	p.head("Decisions", len(r.Decisions))
	for _, d := range r.Decisions {
		p.line("- %s by policy %s (%s): %s", code(string(d.Effect)), code(d.Policy), code(d.Rule), code(d.Reason))
	}
	p.head("People", len(r.People))
	for _, who := range r.People {
		word := "denied"
		if who.Approve {
			word = "approved"
		}
		p.line("- %s %s at %s", code(who.Name), word, stamp(who.At))
	}
	p.head("What was done", len(r.Done))
	for _, e := range r.Done {
		p.line("- step %d, %s: %s → %s (%s, %s)", e.Step+1, code(e.Action), code(e.Before), code(e.After), code(e.Result), stamp(e.Ended))
	}
}

func (r Record) compared(p *page) {
	c := r.Compared
	if c == nil {
		return
	}
	p.head("Before and after", 1)
	word := "Not better"
	if c.Better {
		word = "Better"
	}
	p.line("%s: %s", word, code(c.Reason))
	p.line("")
	p.line("| | before | after |")
	p.line("|---|---|---|")
	p.line("| share of %s | %.1f%% | %.1f%% |", cell(string(c.Cause)), 100*c.Before, 100*c.After)
	for _, s := range c.States {
		p.line("| %s | %.1f%% | %.1f%% |", cell(string(s.State)), 100*s.Before, 100*s.After)
	}
}

func (r Record) related(p *page) {
	p.head("Related", len(r.Episodes)+map[bool]int{true: 1}[r.Parent != nil || r.Parts != nil])
	for _, e := range r.Episodes {
		p.line("- %s received %s: %s", code(e.ID), stamp(e.ReceivedAt), code(string(cmp.Or(e.Outcome, "open"))))
	}
	if r.Parent != nil {
		p.line("- part of %s, with the same %s %s", code(r.Parent.Incident), code(r.Parent.Shares), code(r.Parent.What))
	}
	if r.Parts != nil {
		p.line("- %s", code(r.Parts.String()))
	}
}

// page collects lines.
type page struct{ strings.Builder }

// line writes one line; its arguments are kmend's own words, or code.
func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.Builder, format+"\n", args...) }

// head begins a section that has n entries, unless there are none.
func (p *page) head(title string, n int) {
	if n > 0 {
		p.line("\n## %s\n", title)
	}
}

// code is a hostile text on one line as Markdown's code, where nothing means anything but the
// backtick, which becomes an apostrophe.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '`':
			return '\''
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return "`" + cmp.Or(strings.TrimSpace(s), "-") + "`"
}

// cell is code in a table, whose rows end at a bar even inside of code.
func cell(s string) string { return strings.ReplaceAll(code(s), "|", "¦") }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}
