package pagerduty

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/incident"
)

// maxNote bounds a note, in bytes: what a person reads on the phone.
const maxNote = 2000

// Bounds of a page's fields, in bytes, and of a dedup key, in PagerDuty's characters.
const (
	maxSummary  = 1024
	maxName     = 255
	maxDedupKey = 255
)

// maxObserved bounds what one observation takes of it.
const maxObserved = 300

// Notes are what there is to say of an incident as it is now, in order: when it is
// known what to do, and when it is over. What was said is never said differently.
// words are an operator's in place of kmend's own about finding and plan; empty: kmend's.
func Notes(inc incident.Incident, words string) (notes []string) {
	about := unlinked(append(found(inc), planned(inc)...))
	if words != "" {
		about = strings.Split(words, "\n")
	}
	if !inc.Phase.Closed() { // else the last note has the summary, which is of the end
		about = append(about, unlinked(summary(inc))...)
	}

	if inc.Phase == incident.AwaitingApproval || inc.Phase == incident.Executing || inc.Phase == incident.Verifying || inc.Phase.Closed() && len(inc.Decisions) > 0 {
		notes = append(notes, note(inc, "found", about))
	}
	if inc.Phase.Closed() {
		lines := unlinked(ended(inc))
		if len(notes) == 0 {
			lines = append(unlinked(found(inc)), lines...)
		}
		notes = append(notes, note(inc, string(inc.Outcome), append(lines, unlinked(summary(inc))...)))
	}
	return notes
}

// note puts a head before the lines that no other note has, and bounds them.
func note(inc incident.Incident, what string, lines []string) string {
	text := fmt.Sprintf("kmend %s: %s", inc.ID, what)
	for _, l := range lines {
		if l = clean(l); l != "" {
			text += "\n" + l
		}
	}
	return cut(text, maxNote)
}

func found(inc incident.Incident) []string {
	t := inc.Aim()
	d := inc.Diagnosis
	if d == nil {
		return []string{t.String()}
	}
	t = t.Over(d.Target)
	head := t.String()
	if d.Node.Name != "" {
		head += " on node " + d.Node.Name
	}
	lines := []string{head}
	if p := d.Investigation.Path(); p != "" {
		lines = append(lines, "Path "+p)
	}
	if v := d.Investigation; v != nil && v.Extent != nil {
		lines = append(lines, "Of "+v.Extent.Of+": "+v.Extent.Message)
	}
	if len(d.Findings) > 0 {
		f := d.Findings[0]
		lines = append(lines, f.Message)
		if root, ok := d.RootCause(); ok {
			lines = append(lines, fmt.Sprintf("%s confirmed, measured for %.3g s at %s (evidence %s)", root.Cause, d.Window.Seconds, stamp(d.Window.Start), strings.Join(f.Evidence, ", ")))
		}
	}
	return append(lines, observed(d.Investigation)...)
}

// observed is what speaks for or against the finding, one line a source, and which
// sources did not answer.
func observed(v *incident.Investigation) (lines []string) {
	if v == nil {
		return nil
	}
	said := map[string]bool{}
	for _, o := range v.Observations {
		if key := o.Source + " " + string(o.Stance); o.Stance != "" && !said[key] {
			said[key] = true
			lines = append(lines, cut(fmt.Sprintf("%s it: %s", key, o.Message), maxObserved))
		}
	}
	for _, s := range v.Sources {
		if s.Status == incident.SourceFailed {
			lines = append(lines, cut(s.Name+" did not answer: "+s.Reason, maxObserved))
		}
	}
	return lines
}

func planned(inc incident.Incident) []string {
	if inc.Plan == nil {
		return nil
	}
	lines := []string{"Plan " + inc.Plan.Runbook}
	for i, s := range inc.Plan.Steps {
		if s.Preview != nil {
			lines = append(lines, fmt.Sprintf("%d. %s: %s -> %s", i+1, s.Preview.Summary, s.Preview.Before, s.Preview.After))
		}
	}
	// The first decision: later ones come while the note is there already.
	for _, d := range inc.Decisions[:min(1, len(inc.Decisions))] {
		lines = append(lines, fmt.Sprintf("Policy %s (%s): %s: %s", d.Policy, d.Rule, strings.ReplaceAll(string(d.Effect), "_", " "), d.Reason))
		if d.Effect == incident.RequireApproval {
			lines = append(lines, "kmend approve "+inc.ID)
		}
	}
	return lines
}

func ended(inc incident.Incident) (lines []string) {
	for _, a := range inc.Approvals {
		word := "Denied"
		if a.Approve {
			word = "Approved"
		}
		lines = append(lines, fmt.Sprintf("%s by %s at %s", word, a.By, stamp(a.At)))
	}
	for _, e := range inc.Executions {
		lines = append(lines, fmt.Sprintf("Step %d %s: %s -> %s", e.Step+1, e.Result, e.Before, e.After))
	}
	if v := inc.Verification; v != nil {
		lines = append(lines, "Measured again: "+v.Reason)
	}
	return append(lines, inc.Reason, "Closed at "+stamp(inc.ClosedAt))
}

// DedupKey is the key of the incident that Alertmanager or Grafana opens for the
// same group: the value of a label or an annotation, where one is named and
// there; else what both make of the group's key.
func DedupKey(inc incident.Incident, label string) string {
	if label != "" {
		for _, a := range inc.Alerts {
			if v := a.Labels[label]; v != "" && len(v) <= maxDedupKey {
				return v
			}
			if v := a.Annotations[label]; v != "" && len(v) <= maxDedupKey {
				return v
			}
		}
	}
	group, _, _ := strings.Cut(inc.DedupKey, "\n")
	for _, a := range inc.Alerts {
		group = strings.TrimPrefix(group, fmt.Sprintf("org %d: ", a.OrgID))
	}
	sum := sha256.Sum256([]byte(group))
	return hex.EncodeToString(sum[:])
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// unlinked are lines in which PagerDuty makes a link of nothing: what looks like one
// was written by others. What an operator's own words link stays.
func unlinked(lines []string) []string {
	for i, l := range lines {
		lines[i] = unlink(l)
	}
	return lines
}

func unlink(s string) string { return strings.ReplaceAll(s, "://", "[:]//") }

// field is hostile text for one field of a page.
func field(s string, limit int) string { return cut(unlink(clean(s)), limit) }

// clean keeps a text from being more than one line.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
