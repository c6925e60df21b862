package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/kmend/kmend/incident"
)

// Simulation is what a runbook would do about an incident: rendered, asked for its
// dry run and judged, with nothing changed.
type Simulation struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`     // "Simulation"
	Incident   string    `json:"incident"` // its id
	At         time.Time `json:"at"`       // as when the policies judged
	Runbook    string    `json:"runbook"`  // what was asked for: a name, or a file
	Matches    bool      `json:"matches"`
	Why        string    `json:"why,omitempty"` // it does not match
	// Taken is the runbook that kmend would take of those that are loaded, empty
	// when none matches.
	Taken string         `json:"taken,omitempty"`
	Plan  *incident.Plan `json:"plan,omitempty"`
	// Refused are the dry runs that gave an error in place of a preview.
	Refused []Refusal `json:"refused,omitempty"`
	// Decision is the guards' answer, with that of each policy.
	Decision *incident.Decision `json:"decision,omitempty"`
	// FromZero: no server was asked, so what kmend did before and a pause of it are not
	// known: rates, cooldown and plans at once count from zero.
	FromZero bool `json:"fromZero,omitempty"`
	// Silent are the policies of which no rule matches and no guard answers.
	Silent []string `json:"silent,omitempty"`
	// Phase and Outcome are how far the incident would come: awaiting_approval,
	// executing, or escalated with the outcome.
	Phase   incident.Phase   `json:"phase"`
	Outcome incident.Outcome `json:"outcome,omitempty"`
}

// Refusal is the dry run of a step that was not answered.
type Refusal struct {
	Step  int    `json:"step"` // index in Plan.Steps
	Error string `json:"error"`
}

// would says in words what comes next.
func (s Simulation) would() string {
	switch {
	case !s.Matches:
		return "The runbook does not match."
	case s.Outcome == incident.Failed:
		return "kmend would not act: a dry run was refused."
	case s.Outcome == incident.Denied:
		return "kmend would not act: it is denied."
	case s.Outcome == incident.DryRun:
		return "kmend would show this plan and not act: dry run."
	case s.Outcome == incident.Reported:
		return "kmend would change nothing and tell a person what to do."
	case s.Phase == incident.AwaitingApproval:
		return "kmend would wait for a person's approval, and then act."
	}
	return "kmend would act."
}

// SimulationText writes a simulation for people.
func SimulationText(w io.Writer, s Simulation, target incident.Target, opts Options) error {
	p := newPage(opts)
	look := yellow
	if !s.Matches || s.Outcome == incident.Failed {
		look = red
	} else if s.Outcome == "" {
		look = green
	}
	p.heading(title("simulated", look), target.String(), s.Incident)
	p.flow("", 0, bold(s.would()), plain(" Nothing was changed."))
	p.blank()
	p.field("Runbook", 0, bold(s.Runbook))
	if s.Why != "" {
		p.field("", 0, plain(s.Why))
	}
	p.taken(s)
	if s.Plan != nil {
		p.simulated(s)
	}
	return p.flush(w)
}

// taken says where kmend would choose another runbook than the one that was asked for.
func (p *page) taken(s Simulation) {
	switch {
	case s.Taken == "":
		p.field("", 0, dim("of those that are loaded none matches"))
	case s.Plan == nil || s.Taken != s.Plan.Runbook:
		p.field("", 0, dim("of those that are loaded kmend would take "), bold(s.Taken))
	}
}

// simulated writes the plan, each dry run's answer and what the policies say.
func (p *page) simulated(s Simulation) {
	if s.Plan.ReportOnly() {
		p.report(s.Plan.Report)
		return
	}
	p.field("Plan", 2, bold(s.Plan.Runbook), plain(" for "+string(s.Plan.Cause)))
	refused := map[int]string{}
	for _, r := range s.Refused {
		refused[r.Step] = r.Error
	}
	for i, step := range s.Plan.Steps {
		p.step(i+1, step)
		if err := refused[i]; err != "" {
			p.flow(pad("", gutter+3), 0, in(red, "dry run refused: "), plain(err))
		}
		if step.Irreversible {
			p.flow(pad("", gutter+3), 0, in(red, "cannot be undone"))
		}
	}
	if s.Decision != nil {
		p.decisions(incident.Incident{Decisions: []incident.Decision{*s.Decision}})
		for i, name := range s.Silent {
			label := ""
			if i == 0 {
				label = "Silent"
			}
			p.field(label, 0, plain(name+": "), dim("no rule matches"))
		}
		from := "by what the server did until then, and whether it is paused now"
		if s.FromZero {
			from = "rates, cooldown and plans at once counted from zero, and no pause: a file knows neither"
		}
		p.field("Judged", 2, dim("as at "+stamp(s.At)+", "+from))
	}
}

// SimulationJSON writes it as indented JSON. Characters that a terminal could obey
// are escaped.
func SimulationJSON(w io.Writer, s Simulation) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the simulation as JSON: %w", err)
	}
	if _, err := io.WriteString(w, escapeJSON(string(text))+"\n"); err != nil {
		return fmt.Errorf("writing the simulation: %w", err)
	}
	return nil
}
