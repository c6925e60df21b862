package record

import (
	"cmp"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

// Record is the JSON contract of `kmend incidents export`. Texts are as they came: untrusted.
type Record struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // "IncidentRecord"
	ID         string `json:"id"`
	Target     string `json:"target"` // that the diagnosis is about
	Node       string `json:"node,omitempty"`

	Phase      incident.Phase   `json:"phase"`
	Outcome    incident.Outcome `json:"outcome,omitempty"` // empty while open
	Reason     string           `json:"reason,omitempty"`
	ReceivedAt time.Time        `json:"receivedAt"`
	ClosedAt   time.Time        `json:"closedAt,omitzero"`
	Seconds    float64          `json:"seconds,omitempty"` // from the one to the other
	Trace      string           `json:"trace,omitempty"`   // id of its trace, where spans are sent to somebody
	Test       bool             `json:"test,omitempty"`    // of a test alert: nothing was to be changed

	Summary     *incident.Summary      `json:"summary,omitempty"`
	Alerts      []incident.Alert       `json:"alerts"`
	Verdict     incident.Verdict       `json:"verdict,omitempty"`
	Findings    []incident.Finding     `json:"findings,omitempty"`
	Evidence    []incident.Evidence    `json:"evidence,omitempty"`
	Way         []incident.Hop         `json:"way,omitempty"` // the alert's target and the hops from it, where there were any
	Extent      *incident.Extent       `json:"extent,omitempty"`
	Sources     []incident.Source      `json:"sources,omitempty"`
	Said        []incident.Observation `json:"observations,omitempty"`
	Plan        *incident.Plan         `json:"plan,omitempty"`
	People      []Person               `json:"people,omitempty"`
	Decisions   []incident.Decision    `json:"decisions,omitempty"`
	Done        []incident.Execution   `json:"executions,omitempty"`
	Compared    *Compared              `json:"beforeAndAfter,omitempty"`
	ActionItems []string               `json:"actionItems"`
	Timeline    []incident.Event       `json:"timeline"`

	Episodes []incident.Episode `json:"episodes,omitempty"`
	Parent   *incident.Parent   `json:"parent,omitempty"`
	Parts    *incident.Parts    `json:"parts,omitempty"`
}

// Person is what a person said of the plan.
type Person struct {
	Name    string    `json:"name"`
	Approve bool      `json:"approve"`
	At      time.Time `json:"at"`
	Plan    string    `json:"plan"` // its digest
}

// Compared is the cause's share and the threads' states before and after.
type Compared struct {
	Cause  incident.Cause `json:"cause"`
	Before float64        `json:"before"` // share of the cause, 0..1
	After  float64        `json:"after"`
	Better bool           `json:"better"`
	Reason string         `json:"reason"`
	States []State        `json:"states,omitempty"`
}

// State is one state of the threads, as shares of their time, 0..1.
type State struct {
	State  incident.State `json:"state"`
	Before float64        `json:"before"`
	After  float64        `json:"after"`
}

// Of is the record of an incident as it is now.
func Of(inc incident.Incident) Record {
	r := Record{APIVersion: incident.APIVersion, Kind: "IncidentRecord", ID: inc.ID, Phase: inc.Phase, Outcome: inc.Outcome, Reason: inc.Reason,
		ReceivedAt: inc.ReceivedAt, ClosedAt: inc.ClosedAt, Trace: inc.Trace, Test: inc.Test, Summary: inc.Summary, Alerts: inc.Alerts, Plan: inc.Plan, Decisions: inc.Decisions, Done: inc.Executions,
		ActionItems: items(inc), Timeline: inc.Timeline, Episodes: inc.Episodes, Parent: inc.Parent, Parts: inc.Parts}
	if !inc.ClosedAt.IsZero() {
		r.Seconds = inc.ClosedAt.Sub(inc.ReceivedAt).Seconds()
	}
	t := inc.Aim()
	if d := inc.Diagnosis; d != nil {
		t = t.Over(d.Target)
		r.Node, r.Verdict, r.Findings, r.Evidence = d.Node.Name, d.Verdict, d.Findings, d.Evidence
		if i := d.Investigation; i != nil {
			r.Extent, r.Sources, r.Said = i.Extent, i.Sources, i.Observations
			r.Evidence = append(r.Evidence[:len(r.Evidence):len(r.Evidence)], i.Evidence...)
			if len(i.Hops) > 1 {
				r.Way = i.Hops
			}
		}
	}
	r.Target, r.Node = t.String(), cmp.Or(r.Node, t.Node)
	for _, a := range inc.Approvals {
		r.People = append(r.People, Person{Name: a.By, Approve: a.Approve, At: a.At, Plan: a.Plan})
	}
	r.Compared = compared(inc)
	return r
}

func compared(inc incident.Incident) *Compared {
	v := inc.Verification
	if v == nil {
		return nil
	}
	c := &Compared{Cause: v.Cause, Before: v.Before, After: v.After, Better: v.Better, Reason: v.Reason}
	if inc.Diagnosis == nil || inc.Diagnosis.Ledger.WallMS <= 0 || v.Diagnosis.Ledger.WallMS <= 0 {
		return c
	}
	before, after := inc.Diagnosis.Ledger, v.Diagnosis.Ledger
	for _, s := range incident.States() {
		if before.States[s] > 0 || after.States[s] > 0 {
			c.States = append(c.States, State{s, before.States[s] / before.WallMS, after.States[s] / after.WallMS})
		}
	}
	return c
}

// items are what is left for people to do: what a runbook tells them, and what
// follows from how it ended.
func items(inc incident.Incident) []string {
	out := []string{}
	if inc.Plan != nil {
		for line := range strings.Lines(inc.Plan.Report) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	about := inc.Aim().String()
	switch inc.Outcome {
	case incident.Fixed:
		out = append(out, "Make permanent what was changed on "+about+", or take it back: what keeps its definition may overwrite it.")
	case incident.Applied:
		out = append(out, "Look whether it helped "+about+": that was not measured.")
	case incident.Failed, incident.Undone, incident.Interrupted:
		out = append(out, "Look at "+about+": it is not fixed, and kmend changed it or was about to.")
	case incident.DryRun:
		out = append(out, "Carry out the plan for "+about+" by hand, or let a policy allow it: it was only shown.")
	case incident.Denied, incident.Expired:
		out = append(out, "Decide what is done about "+about+": the plan was not carried out.")
	case incident.NoRunbook:
		out = append(out, "Remove the cause on "+about+", and write a runbook if it comes again: none is for it.")
	case incident.OutcomeClean:
		out = append(out, "Look elsewhere than in the kernel of "+about+": it is clean.")
	case incident.OutcomeInconclusive:
		out = append(out, "Find out why nothing could be said of "+about+".")
	case incident.NoTarget:
		out = append(out, "Give the alert a label that names what it is about.")
	}
	if inc.Diagnosis != nil && inc.Diagnosis.Investigation != nil {
		for _, s := range inc.Diagnosis.Investigation.Sources {
			if s.Status == incident.SourceFailed {
				out = append(out, "See why "+s.Name+" did not answer: "+s.Reason)
			}
		}
	}
	return out
}
