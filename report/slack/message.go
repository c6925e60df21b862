package slack

import (
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/incident"
)

// What the buttons say to package webhook/slack. The value of each is the
// incident's id and the plan's digest, with a space between them.
const (
	ActionApprove = "kmend.approve"
	ActionDeny    = "kmend.deny"
	ActionDetails = "kmend.details"
)

// Message is what Slack shows: Text for notifications and where blocks are not
// shown, Blocks for everything else.
type Message struct {
	Text   string        `json:"text"`
	Blocks []slack.Block `json:"blocks"`
	Final  bool          `json:"final"` // nothing of it will change any more
}

// Form is how a message is made.
type Form struct {
	Buttons bool   // clicks reach kmend
	Words   string // about alert and target, as mrkdwn in which hostile text is escaped; empty: kmend's own
}

// Render is the message about an incident as it is now; ok is false as long as
// there is nothing to tell. Buttons are there only while it waits for a person,
// and only when clicks reach kmend.
func Render(inc incident.Incident, f Form) (m Message, ok bool) {
	if !inc.Phase.Closed() && inc.Episode < 2 && (inc.Plan == nil || len(inc.Decisions) == 0) {
		return Message{}, false
	}
	head := title(inc)
	blocks := []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, head, false, false))}
	if f.Words != "" {
		blocks = append(blocks, marked(strings.Split(f.Words, "\n")...))
	} else {
		blocks = append(blocks, marked(facts(inc)...))
	}
	if l := links(inc); len(l) > 0 {
		blocks = append(blocks, marked(l...))
	}
	if finding, ok := found(inc); ok {
		blocks = append(blocks, plain(finding...))
	}
	if said := observed(inc); len(said) > 0 {
		blocks = append(blocks, plain(said...))
	}
	blocks = append(blocks, summary(inc)...)
	if inc.Plan != nil {
		blocks = append(blocks, marked(planHead(*inc.Plan)), plain(steps(*inc.Plan)...))
	}
	blocks = append(blocks, plain(state(inc)...))
	if waits(inc) && f.Buttons {
		blocks = append(blocks, actions(inc))
	}
	blocks = append(blocks, slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, footer(inc), false, true)))
	return Message{Text: head, Blocks: blocks, Final: inc.Phase.Closed() && (inc.Parts == nil || inc.Parts.Open == 0)}, true
}

// title is the state and the target in one line.
func title(inc incident.Incident) string {
	return cut(escaped(clean(tested(inc)+headline(inc)+": "+about(inc))), maxHeader)
}

func waits(inc incident.Incident) bool {
	return inc.Phase == incident.AwaitingApproval && inc.Approval == nil && inc.Plan != nil
}

// about is the target, with what the node knows of it.
func about(inc incident.Incident) string {
	t := inc.Aim()
	if inc.Diagnosis != nil {
		t = t.Over(inc.Diagnosis.Target)
	}
	return t.String()
}

// facts are the alert, where, and the cause.
func facts(inc incident.Incident) []string {
	var lines []string
	for i, a := range inc.Alerts {
		if i == 3 {
			lines = append(lines, fmt.Sprintf("and %d more alerts", len(inc.Alerts)-3))
			break
		}
		line := "*Alert* " + code(a.Name())
		if s := a.Labels["severity"]; s != "" {
			line += " severity " + code(s)
		}
		if s := a.Annotations["summary"]; s != "" {
			line += " " + code(s)
		}
		lines = append(lines, line)
	}
	lines = append(lines, "*Target* "+code(about(inc))+where(inc))
	lines = append(lines, related(inc)...)
	if d := inc.Diagnosis; d != nil {
		line := "*Verdict* " + string(d.Verdict)
		if f, ok := d.RootCause(); ok {
			line += " " + code(string(f.Cause))
		}
		lines = append(lines, fmt.Sprintf("%s, measured for %.3g s at %s", line, d.Window.Seconds, stamp(d.Window.Start)))
		if p := d.Investigation.Path(); p != "" {
			lines = append(lines, "*Path* "+code(p))
		}
		if v := d.Investigation; v != nil && v.Extent != nil {
			lines = append(lines, "*Extent* "+code(v.Extent.Of)+" "+code(v.Extent.Message))
		}
	}
	return lines
}

func where(inc incident.Incident) string {
	var out string
	if d := inc.Diagnosis; d != nil && d.Node.Name != "" {
		out += " on node " + code(d.Node.Name)
	}
	if c := inc.Target.Cluster; c != "" {
		out += " of cluster " + code(c)
	}
	return out
}

// found is what the kernel said.
func found(inc incident.Incident) ([]string, bool) {
	if inc.Diagnosis == nil || len(inc.Diagnosis.Findings) == 0 {
		return nil, false
	}
	f := inc.Diagnosis.Findings[0]
	lines := []string{f.Message}
	if f.Threshold != "" {
		lines = append(lines, "Threshold: "+f.Threshold)
	}
	if len(f.Evidence) > 0 {
		lines = append(lines, "Evidence: "+strings.Join(f.Evidence, ", "))
	}
	return lines, true
}

func planHead(p incident.Plan) string {
	head := "*Plan* " + code(p.Runbook)
	switch {
	case p.ReportOnly():
		return "*To do*, by " + code(p.Runbook)
	case p.Irreversible():
		return head + ", *cannot be undone*"
	case p.Verify.Unmeasured != "":
		return head + ", *its effect is not measured*"
	case p.Undo == incident.UndoAutomatic:
		return head + ", undone if it does not help"
	}
	return head + ", not undone by itself"
}

func steps(p incident.Plan) []string {
	if p.ReportOnly() {
		return []string{p.Report}
	}
	var lines []string
	for i, s := range p.Steps {
		if s.Preview == nil {
			lines = append(lines, fmt.Sprintf("%d. %s", i+1, s.Action))
			continue
		}
		lines = append(lines, fmt.Sprintf("%d. %s", i+1, s.Preview.Summary),
			fmt.Sprintf("    %s → %s; dry run: %s", s.Preview.Before, s.Preview.After, s.Preview.Server))
	}
	return lines
}

func actions(inc incident.Incident) slack.Block {
	value := inc.ID + " " + inc.Plan.Digest()
	button := func(action, label string, style slack.Style) *slack.ButtonBlockElement {
		b := slack.NewButtonBlockElement(action, value, slack.NewTextBlockObject(slack.PlainTextType, label, false, false))
		b.Style = style
		return b
	}
	return slack.NewActionBlock("kmend",
		button(ActionApprove, "Approve", slack.StylePrimary), button(ActionDeny, "Deny", slack.StyleDanger), button(ActionDetails, "Details", slack.StyleDefault))
}

func footer(inc incident.Incident) string {
	f := "incident " + code(inc.ID)
	if inc.Plan != nil {
		f += " plan " + code(inc.Plan.Digest()[:12])
	}
	if waits(inc) {
		f += " or " + code("kmend approve "+inc.ID)
	}
	return f
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// tested marks the message of a test alert.
func tested(inc incident.Incident) string {
	if inc.Test {
		return "TEST: "
	}
	return ""
}
