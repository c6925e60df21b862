package report

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

func outcomeStyle(o incident.Outcome) style {
	switch o {
	case incident.Fixed, incident.Superseded:
		return green
	case incident.Failed, incident.Interrupted, incident.Undone:
		return red
	}
	return yellow
}

// ended says in words how an incident ended.
var ended = map[incident.Outcome]string{
	incident.Fixed:               "kmend acted, measured again, and it is better.",
	incident.DryRun:              "The plan is shown only. Nothing was changed.",
	incident.OutcomeClean:        "The kernel is clean: the cause is elsewhere. Nothing was changed.",
	incident.OutcomeInconclusive: "The measurement allows no conclusion. Nothing was changed.",
	incident.NoTarget:            "The alert names nothing that can be measured.",
	incident.NoRunbook:           "The cause is confirmed and no runbook is for it. Nothing was changed.",
	incident.Reported:            "The cause is confirmed and it is a person's to remove. Nothing was changed.",
	incident.Denied:              "The plan was not allowed. Nothing was changed.",
	incident.Expired:             "Nobody approved the plan in time. Nothing was changed.",
	incident.Superseded:          "The alert resolved before kmend acted. Nothing was changed.",
	incident.Failed:              "A step failed, or it did not help and could not be undone. A person has to look.",
	incident.Undone:              "It did not help and was undone. A person has to look.",
	incident.Applied:             "kmend acted as a person allowed. Whether it helped is not measured: a person has to look.",
	incident.Interrupted:         "kmend was down past a deadline; nothing was replayed. A person has to look.",
}

// incident writes the whole report: how it ended first, then why.
func (p *page) incident(inc incident.Incident) {
	word, look := string(inc.Phase), cyan
	if inc.Outcome != "" {
		word, look = string(inc.Outcome), outcomeStyle(inc.Outcome)
	}
	p.heading(title(word, look), target(inc).String(), inc.ID)
	if inc.Test {
		p.flow("", 0, bold("A test alert: it never changes anything, whatever the policies allow."))
	}
	if text := ended[inc.Outcome]; text != "" {
		p.flow("", 0, plain(text))
	}
	if inc.Reason != "" {
		p.flow("", 0, dim(inc.Reason))
	}
	p.blank()
	p.alerts(inc)
	if inc.Diagnosis != nil {
		p.blank()
		p.diagnosis(*inc.Diagnosis)
		p.trouble(*inc.Diagnosis)
		p.investigation(inc.Diagnosis.Investigation)
	}
	p.summary(inc.Summary)
	p.plan(inc)
	p.verification(inc.Verification)
	p.timeline(inc)
}

// Target is the incident's in words, with what the node knows of it.
func Target(inc incident.Incident) string { return target(inc).String() }

// target is the incident's, with what the node knows of it.
func target(inc incident.Incident) incident.Target {
	if inc.Diagnosis == nil {
		return inc.Target
	}
	return inc.Aim().Over(inc.Diagnosis.Target)
}

// alerts writes what happened, to what, and when.
func (p *page) alerts(inc incident.Incident) {
	for i, a := range inc.Alerts {
		if i == 3 {
			p.field("", 1, dim(fmt.Sprintf("and %d more", len(inc.Alerts)-3)))
			break
		}
		label := ""
		if i == 0 {
			label = "Alert"
		}
		head := []span{bold(cmp.Or(a.Name(), "unnamed"))}
		if severity := a.Labels["severity"]; severity != "" {
			head = append(head, plain(" ("+severity+")"))
		}
		head = append(head, plain(", "+string(a.Status)))
		if !a.StartsAt.IsZero() {
			head = append(head, dim(" since "+stamp(a.StartsAt)))
		}
		p.field(label, 2, head...)
		if text := cmp.Or(a.Annotations["summary"], a.Annotations["description"]); text != "" {
			p.field("", 3, plain(text))
		}
		for _, l := range []struct{ what, url string }{{"dashboard", cmp.Or(a.PanelURL, a.DashboardURL)}, {"image", a.ImageURL}} {
			if l.url != "" {
				p.field("", 1, dim(l.what+" "+l.url))
			}
		}
	}
	t := target(inc)
	where := []span{plain(t.String())}
	if t.Node != "" && t.String() != "node "+t.Node {
		where = append(where, plain(" on node "+t.Node))
	}
	if t.Cluster != "" {
		where = append(where, plain(" of cluster "+t.Cluster))
	}
	if d := inc.Diagnosis; d != nil && d.Node.Kernel != "" {
		where = append(where, dim(" "+strings.TrimPrefix(node(d.Node), d.Node.Name+" ")))
	}
	p.field("Target", 3, where...)
	when := []span{plain(stamp(inc.ReceivedAt))}
	if inc.Deliveries > 1 {
		when = append(when, plain(fmt.Sprintf(", in %d deliveries", inc.Deliveries)))
	}
	if !inc.ClosedAt.IsZero() {
		when = append(when, plain(", closed after "), bold(took(inc.ClosedAt.Sub(inc.ReceivedAt))))
	}
	p.field("Received", 2, when...)
	if inc.Trace != "" {
		p.field("Trace", 1, dim(inc.Trace))
	}
	p.related(inc)
}

// plan writes what would be done, what was decided about it, and what was done.
func (p *page) plan(inc incident.Incident) {
	if inc.Plan == nil {
		return
	}
	p.blank()
	if inc.Plan.ReportOnly() {
		p.field("Runbook", 2, bold(inc.Plan.Runbook), dim(", for a person"))
		p.report(inc.Plan.Report)
		return
	}
	head := []span{plain("runbook "), bold(inc.Plan.Runbook)}
	switch {
	case inc.Plan.Irreversible():
		head = append(head, in(red, ", cannot be undone"))
	case inc.Plan.Verify.Unmeasured != "":
		head = append(head, dim(", its effect is not measured"))
	case inc.Plan.Undo == incident.UndoAutomatic:
		head = append(head, dim(", undone if it does not help"))
	default:
		head = append(head, dim(", not undone by itself"))
	}
	p.field("Plan", 2, head...)
	for i, step := range inc.Plan.Steps {
		p.step(i+1, step)
	}
	p.decisions(inc)
	for i, a := range inc.Approvals {
		answer, label := in(red, "denied"), ""
		if a.Approve {
			answer = in(green, "approved")
		}
		if i == 0 {
			label = "Approval"
		}
		p.field(label, 2, answer, plain(" by "+a.By), dim(" at "+stamp(a.At)))
	}
	for i, e := range inc.Executions {
		label := ""
		if i == 0 {
			label = "Done"
		}
		change := e.Before + " → " + e.After
		if e.Before == "" && e.After == "" {
			change = e.Action
		}
		p.field(label, 3, plain(fmt.Sprintf("step %d: ", e.Step+1)), bold(change), plain(" "+e.Result), dim(" in "+took(e.Ended.Sub(e.Started))))
	}
}

// report writes what a runbook tells a person, in its own lines.
func (p *page) report(text string) {
	label := "To do"
	for line := range strings.Lines(strings.TrimSpace(text)) {
		if line = strings.TrimRight(line, "\n"); strings.TrimSpace(line) == "" {
			p.blank()
			continue
		}
		p.field(label, 0, plain(line))
		label = ""
	}
}

func (p *page) step(n int, step incident.Step) {
	prefix := pad("", gutter) + fmt.Sprintf("%d. ", n)
	how := step.Action + with(step.With)
	if v := step.Preview; v != nil {
		p.flow(prefix, 4, bold(v.Before+" → "+v.After), plain("  "+v.Summary))
		prefix, how = pad("", cells(prefix)), how+"; dry run: "+cmp.Or(v.Server, "not answered")
	} else {
		how = step.Name + ": " + how
	}
	p.flow(prefix, 3, dim(how))
}

func with(params map[string]any) string {
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, " %s=%v", name, params[name])
	}
	return b.String()
}

// decisions writes each answer of the guards once: they are asked again before
// every step, and mostly say the same.
func (p *page) decisions(inc incident.Incident) {
	label := "Decision"
	var before incident.Decision
	for i, d := range inc.Decisions {
		if i > 0 && reflect.DeepEqual(d, before) {
			continue
		}
		before = d
		look := green
		if d.Effect == incident.RequireApproval {
			look = yellow
		} else if d.Effect != incident.Allow {
			look = red
		}
		head := []span{in(look.bold(), words(cmp.Or(string(d.Effect), "deny")))}
		if d.DryRun {
			head = append(head, in(yellow, " as a dry run"))
		}
		head = append(head, plain(": "+d.Reason), dim(" ("+d.Policy+": "+d.Rule+")"))
		p.field(label, 4, head...)
		label = ""
		for _, a := range d.Answers {
			if a.Policy == d.Policy && a.Rule == d.Rule && a.Reason == d.Reason {
				continue
			}
			p.flow(pad("", gutter), 3, dim(words(string(a.Effect))+": "+a.Reason+" ("+a.Policy+": "+a.Rule+")"))
		}
	}
	if inc.Phase == incident.AwaitingApproval {
		p.field("To do", 0, in(yellow.bold(), "kmend approve "+inc.ID+" --plan "+inc.Plan.Digest()))
	}
}

// verification draws the cause's share before and after.
func (p *page) verification(v *incident.Verification) {
	if v == nil {
		return
	}
	answer := in(red.bold(), "not better")
	if v.Better {
		answer = in(green.bold(), "better")
	}
	p.blank()
	p.field("Verified", 3, answer, plain(": "+v.Reason))
	room := p.width - gutter - 8 - 8
	for _, row := range []struct {
		name  string
		share float64
		look  style
	}{{"before", v.Before, red}, {"after", v.After, green}} {
		look := row.look
		if !v.Better {
			look = red
		}
		p.line(plain(strings.Repeat(" ", gutter)), dim(pad(row.name, 8)), in(look, bar(row.share, room)), plain(padLeft(percent(row.share), 6)))
	}
}

// timeline writes every event, how long after the first it came, and beside the
// first event of each phase how long that phase took.
func (p *page) timeline(inc incident.Incident) {
	if len(inc.Timeline) == 0 {
		return
	}
	first, last := inc.Timeline[0].At, inc.Timeline[len(inc.Timeline)-1].At
	p.blank()
	p.flow("", 0, bold("Timeline"), dim("  from "+first.UTC().Format("2006-01-02 15:04:05.000")+" UTC, "+took(last.Sub(first))+" in all"))
	var phase incident.Phase
	for _, e := range inc.Timeline {
		name, spent := "", ""
		if e.Phase != phase {
			name, spent = words(strings.TrimPrefix(string(e.Phase), "awaiting_")), p.spent(inc, e.Phase)
		}
		phase = e.Phase
		after := fmt.Sprintf("+%.3f", e.At.Sub(first).Seconds())
		p.flow("  "+pad(name, 10)+padLeft(spent, 8)+"  "+padLeft(after, 7)+"  ", 4, plain(cmp.Or(e.Message, e.Kind)))
	}
}

// spent is how long the incident was in a phase; empty where it still is, or
// where nothing follows.
func (p *page) spent(inc incident.Incident, phase incident.Phase) string {
	var d time.Duration
	for i, e := range inc.Timeline[:len(inc.Timeline)-1] {
		if e.Phase == phase {
			d += inc.Timeline[i+1].At.Sub(e.At)
		}
	}
	if inc.Timeline[len(inc.Timeline)-1].Phase == phase {
		return ""
	}
	return took(d)
}
