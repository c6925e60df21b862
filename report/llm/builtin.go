package llm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
)

// BuiltIn summarizes an incident without a model: what kmend itself has written
// down, the most important first.
func BuiltIn(inc incident.Incident) incident.Summary {
	var s incident.Summary
	say := func(to *[]incident.Sentence, ids []string, format string, args ...any) {
		if len(*to) < maxSentences {
			*to = append(*to, incident.Sentence{Text: cut(fmt.Sprintf(format, args...), maxSentence), Evidence: ids})
		}
	}
	what, t := outcome(inc), inc.Aim()
	d := inc.Diagnosis
	if d != nil {
		t = t.Over(d.Target)
		what = "verdict " + string(d.Verdict)
		if f, ok := d.RootCause(); ok {
			what = string(f.Cause) + " " + string(f.Verdict)
		}
	}
	ids := []string{"g1", "o1"}
	if d != nil {
		ids = append(ids, "w1")
		if len(d.Findings) > 0 {
			ids = append(ids, "f1")
		}
	}
	say(&s.Title, ids, "%s: %s", t, what)
	for i, a := range inc.Alerts[:min(len(inc.Alerts), 2)] {
		name := "An alert"
		if plainName.MatchString(a.Name()) {
			name = a.Name()
		}
		say(&s.Impact, []string{numbered("a", i), "g1"}, "%s is %s.", name, a.Status)
	}
	if d != nil {
		if ms := active(d.Ledger); ms > 0 {
			say(&s.Impact, []string{"s1"}, "The threads were active for %s ms.", rounded(ms))
		}
		if v := d.Investigation; v != nil && v.Extent != nil {
			say(&s.Impact, []string{"b1"}, "%s.", strings.TrimSuffix(v.Extent.Message, "."))
		}
		_, confirmed := d.RootCause()
		for i, f := range d.Findings {
			if confirmed && f.Verdict != incident.Confirmed {
				continue
			}
			text := f.Message
			if f.Share > 0 && f.Cause != "" {
				text = fmt.Sprintf("%s: %s; %.0f%% of the active time", f.Cause, f.Message, 100*f.Share)
			}
			say(&s.RootCause, append([]string{numbered("f", i)}, f.Evidence...), "%s", text)
		}
	}
	decisions := distinct(inc.Decisions)
	if n := len(decisions); n > 0 {
		last := decisions[n-1]
		say(&s.Done, []string{numbered("d", n-1)}, "The decision of policy %s is: %s.", last.Policy, words(string(last.Effect)))
	}
	for i, e := range inc.Executions {
		change := ""
		if e.Before+e.After != "" {
			change = fmt.Sprintf("; changed from %s to %s", e.Before, e.After)
		}
		say(&s.Done, []string{numbered("x", i)}, "Step %d: %s %s%s.", e.Step+1, e.Action, e.Result, change)
	}
	if v := inc.Verification; v != nil {
		say(&s.Done, []string{"v1"}, "Verification: %s.", v.Reason)
	}
	if len(inc.Executions) == 0 && inc.Outcome != "" {
		say(&s.Done, []string{"o1"}, "Nothing was changed.")
	}
	s.FollowUps = followUps(inc, say)
	return s
}

// followUps say what a person still has to do.
func followUps(inc incident.Incident, say func(*[]incident.Sentence, []string, string, ...any)) (next []incident.Sentence) {
	if p := inc.Plan; p != nil && p.ReportOnly() {
		say(&next, []string{"r1"}, "Follow runbook %s.", p.Runbook)
	}
	if inc.Phase == incident.AwaitingApproval && inc.Plan != nil {
		for i, s := range inc.Plan.Steps {
			if s.Preview != nil {
				say(&next, []string{numbered("p", i)}, "Decide whether to %s.", s.Preview.Summary)
			}
		}
	}
	if slices.Contains([]incident.Outcome{incident.Failed, incident.Undone, incident.Interrupted, incident.Expired, incident.NoRunbook}, inc.Outcome) {
		say(&next, []string{"g1", "o1"}, "Look at the target: the outcome is %s.", words(string(inc.Outcome)))
	}
	if d := inc.Diagnosis; d != nil {
		for _, c := range d.NotMeasured {
			say(&next, []string{"w1"}, "%s was not measured.", c)
		}
	}
	return next
}

// rounded has no digits that nobody reads.
func rounded(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
