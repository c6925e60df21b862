package slack

import (
	"fmt"
	"strings"

	"github.com/kmend/kmend/incident"
)

// headlines are the first words of a message that ends.
var headlines = map[incident.Outcome]string{
	incident.Fixed:               "Fixed",
	incident.DryRun:              "Dry run",
	incident.OutcomeClean:        "Kernel is clean",
	incident.OutcomeInconclusive: "Inconclusive",
	incident.NoTarget:            "Nothing to measure",
	incident.NoRunbook:           "No runbook",
	incident.Reported:            "For a person",
	incident.Denied:              "Denied",
	incident.Expired:             "Expired",
	incident.Superseded:          "Superseded",
	incident.Failed:              "Failed",
	incident.Undone:              "Undone",
	incident.Applied:             "Applied",
	incident.Interrupted:         "Interrupted",
}

// endings say what was done, exactly: the reason of the outcome follows.
var endings = map[incident.Outcome]string{
	incident.Fixed:               "kmend acted, measured again, and it is better.",
	incident.DryRun:              "Not executed: the plan is shown only.",
	incident.OutcomeClean:        "Not executed: the cause is not in the kernel.",
	incident.OutcomeInconclusive: "Not executed: the measurement allows no conclusion.",
	incident.NoTarget:            "Not executed: the alert names nothing that can be measured.",
	incident.NoRunbook:           "Not executed: no runbook is for this cause.",
	incident.Reported:            "Not executed: it is a person's to remove.",
	incident.Denied:              "Not executed: the plan was not allowed.",
	incident.Expired:             "Not executed: the time was over.",
	incident.Superseded:          "Not executed: the alert resolved before kmend acted.",
	incident.Failed:              "A step failed, or it did not help and could not be undone: a person has to look.",
	incident.Undone:              "It did not help and was undone: a person has to look.",
	incident.Applied:             "kmend acted; whether it helped is not measured: a person has to look.",
	incident.Interrupted:         "kmend was down past a deadline and repeated nothing: a person has to look.",
}

func headline(inc incident.Incident) string {
	switch {
	case inc.Phase.Closed():
		if h := headlines[inc.Outcome]; h != "" {
			return h
		}
		return string(inc.Outcome)
	case waits(inc):
		return "Approval wanted"
	case inc.Phase == incident.AwaitingApproval:
		return "Answered"
	case inc.Phase == incident.Verifying:
		return "Verifying"
	case inc.Phase == incident.Executing:
		return "Executing"
	case inc.Plan == nil:
		return "Firing again"
	}
	return "Planned"
}

// state says who decided what, and how far it has come.
func state(inc incident.Incident) []string {
	var lines []string
	if n := len(inc.Decisions); n > 0 {
		lines = append(lines, decided(inc.Decisions[n-1]))
	}
	for _, a := range inc.Approvals {
		word := "Denied"
		if a.Approve {
			word = "Approved"
		}
		lines = append(lines, fmt.Sprintf("%s by %s at %s", word, a.By, stamp(a.At)))
	}
	if waits(inc) {
		lines = append(lines, waiting(inc))
	}
	for _, e := range inc.Executions {
		lines = append(lines, fmt.Sprintf("Step %d %s: %s → %s", e.Step+1, e.Result, e.Before, e.After))
	}
	if v := inc.Verification; v != nil {
		lines = append(lines, "Measured again: "+v.Reason)
	}
	if inc.Phase.Closed() {
		lines = append(lines, endings[inc.Outcome], inc.Reason, "Closed at "+stamp(inc.ClosedAt))
	}
	return lines
}

func decided(d incident.Decision) string {
	words := map[incident.Effect]string{incident.Allow: "Allowed", incident.RequireApproval: "Approval is asked for"}
	word := words[d.Effect]
	if word == "" {
		word = "Not allowed"
	}
	return fmt.Sprintf("%s by policy %s (%s): %s", word, d.Policy, d.Rule, d.Reason)
}

// waiting says on whom, and until when.
func waiting(inc incident.Incident) string {
	who := inc.Decisions[len(inc.Decisions)-1].Approval
	line := fmt.Sprintf("%d of %d persons said yes", incident.Approved(inc.Approvals, inc.Plan.Digest()), who.Needed())
	for _, e := range inc.Timeline {
		if e.Kind == "awaiting_approval" {
			line += "; " + e.Message
		}
	}
	if who.Listed() {
		var names []string
		names = append(append(append(names, who.Names...), who.Users...), who.Groups...)
		line += "; who may answer: " + strings.Join(names, ", ")
	}
	return line
}
