package wording

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
)

// View is an incident as templates see it: texts, lists of texts and truths, each text
// escaped. Fields are added, never renamed or removed.
type View struct {
	ID, Phase, Outcome, Reason, Time string // Time: of its reception, UTC

	Alert, Severity, Summary string // of the first alert
	Alerts                   []string
	Labels                   map[string]string // of the first alert, by name

	Target, Namespace, Pod, Node, Cluster string

	Verdict, Cause, Finding, Threshold string
	Evidence                           []string // the ids that the finding cites
	Path                               []string // from the alert's target to the diagnosed one, where they differ
	Extent                             string

	Runbook, Report string
	Steps           []string
	Decision        string // the last one, with policy and reason
	Waiting         bool   // for a person
	Answers         []string
	Executions      []string
	Verification    string
	Open, Acted     bool
}

const (
	maxValue = 600 // bytes of a text, after it was escaped
	maxList  = 50  // of a list, and labels
)

// viewOf is an incident with every text escaped by esc.
func viewOf(inc incident.Incident, esc func(string) string) View {
	t := inc.Aim()
	v := View{ID: esc(inc.ID), Phase: esc(string(inc.Phase)), Outcome: esc(string(inc.Outcome)), Reason: esc(inc.Reason), Time: stamp(inc.ReceivedAt),
		Labels: map[string]string{}, Open: !inc.Phase.Closed(), Acted: len(inc.Executions) > 0,
		Waiting: inc.Phase == incident.AwaitingApproval && inc.Approval == nil}
	for i, a := range inc.Alerts[:min(len(inc.Alerts), maxList)] {
		v.Alerts = append(v.Alerts, esc(a.Name()))
		if i > 0 {
			continue
		}
		v.Alert, v.Severity, v.Summary = esc(a.Name()), esc(a.Labels["severity"]), esc(cmp.Or(a.Annotations["summary"], a.Annotations["description"]))
		for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
			if len(v.Labels) < maxList {
				v.Labels[esc(name)] = esc(a.Labels[name])
			}
		}
	}
	if d := inc.Diagnosis; d != nil {
		t = t.Over(d.Target)
		v.diagnosis(*d, esc)
	}
	v.Target, v.Namespace, v.Pod, v.Cluster = esc(t.String()), esc(t.Namespace), esc(t.Pod), esc(t.Cluster)
	v.Node = cmp.Or(v.Node, esc(t.Node))
	v.plan(inc, esc)
	return v
}

func (v *View) diagnosis(d incident.Diagnosis, esc func(string) string) {
	v.Verdict, v.Node = esc(string(d.Verdict)), esc(d.Node.Name)
	if len(d.Findings) > 0 {
		f := d.Findings[0]
		v.Cause, v.Finding, v.Threshold = esc(string(f.Cause)), esc(f.Message), esc(f.Threshold)
		v.Evidence = list(f.Evidence, esc)
	}
	if i := d.Investigation; i != nil {
		if i.Extent != nil {
			v.Extent = esc(i.Extent.Message)
		}
		if i.Root > 0 && i.Root < len(i.Hops) {
			for _, h := range i.Hops[:i.Root+1] {
				v.Path = append(v.Path, esc(h.Target.String()))
			}
			v.Path = v.Path[:min(len(v.Path), maxList)]
		}
	}
}

func (v *View) plan(inc incident.Incident, esc func(string) string) {
	if p := inc.Plan; p != nil {
		v.Runbook, v.Report = esc(p.Runbook), esc(p.Report)
		for _, s := range p.Steps[:min(len(p.Steps), maxList)] {
			text := s.Action
			if s.Preview != nil {
				text = fmt.Sprintf("%s: %s → %s", s.Preview.Summary, s.Preview.Before, s.Preview.After)
			}
			v.Steps = append(v.Steps, esc(text))
		}
	}
	if n := len(inc.Decisions); n > 0 {
		d := inc.Decisions[n-1]
		v.Decision = esc(fmt.Sprintf("%s by policy %s (%s): %s", d.Effect, d.Policy, d.Rule, d.Reason))
	}
	for _, a := range inc.Approvals[:min(len(inc.Approvals), maxList)] {
		word := "denied"
		if a.Approve {
			word = "approved"
		}
		v.Answers = append(v.Answers, esc(word+" by "+a.By+" at "+stamp(a.At)))
	}
	for _, e := range inc.Executions[:min(len(inc.Executions), maxList)] {
		v.Executions = append(v.Executions, esc(fmt.Sprintf("step %d %s: %s → %s", e.Step+1, e.Result, e.Before, e.After)))
	}
	if inc.Verification != nil {
		v.Verification = esc(inc.Verification.Reason)
	}
}

func list(all []string, esc func(string) string) (out []string) {
	for _, s := range all[:min(len(all), maxList)] {
		out = append(out, esc(s))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
