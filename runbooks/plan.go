package runbooks

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/expr"
)

// Plan renders the runbook for the root cause of an incident: the first finding
// of its confirmed diagnosis. Of the runbooks whose cause that is and whose
// `when` is true, the one of the highest priority is taken; of equal ones, the
// first loaded. ok is false when there is none, and why then names those that
// were considered and what was against each. A condition or a value that fails
// is against its runbook. Plan is pure: Plan.Created is the end of the measured
// window, and err is always nil.
func (s *Set) Plan(inc incident.Incident) (plan incident.Plan, ok bool, why string, err error) {
	if inc.Diagnosis == nil {
		return plan, false, "the incident has no diagnosis", nil
	}
	root, confirmed := inc.Diagnosis.RootCause()
	if !confirmed {
		return plan, false, fmt.Sprintf("the diagnosis is %s: only a confirmed cause has a runbook", inc.Diagnosis.Verdict), nil
	}
	if root.Verdict != incident.Confirmed {
		return plan, false, fmt.Sprintf("the first finding is %s: only a confirmed cause has a runbook", root.Verdict), nil
	}
	if field := inc.Diagnosis.Target.Differs(inc.Aim()); field != "" {
		return plan, false, fmt.Sprintf("the target that was measured is not the one that was asked about: their %s differs", field), nil
	}
	target := inc.Diagnosis.Target.Over(inc.Aim())
	if v := inc.Diagnosis.Investigation; v != nil && v.Root > 0 {
		// What an alert's labels allow, they allow for what it names, and not for what
		// that waits for.
		inc.Alerts = nil
	}
	facts := expr.Facts(inc, root, target)
	var against, considered []string
	for _, b := range s.books {
		if b.Match.Cause != root.Cause {
			continue
		}
		considered = append(considered, b.Metadata.Name)
		plan, reason := s.render(b, facts)
		if reason != "" {
			against = append(against, b.Metadata.Name+": "+reason)
			continue
		}
		plan.Runbook, plan.Cause, plan.Target = b.Metadata.Name, root.Cause, target
		plan.Evidence, plan.Created = root.Evidence, end(inc.Diagnosis.Window)
		return plan, true, "", nil
	}
	if considered == nil && len(s.books) == 1 {
		return plan, false, fmt.Sprintf("runbook %s is for %s; the confirmed root cause is %s", s.books[0].Metadata.Name, s.books[0].Match.Cause, root.Cause), nil
	}
	if considered == nil {
		return plan, false, fmt.Sprintf("no runbook for %s among the %d that are loaded", root.Cause, len(s.books)), nil
	}
	return plan, false, fmt.Sprintf("no runbook for %s matches: %s", root.Cause, strings.Join(against, "; ")), nil
}

func end(w incident.Window) time.Time {
	return w.Start.Add(time.Duration(w.Seconds * float64(time.Second)))
}

// render computes what a runbook does or says; reason is what is against it.
func (s *Set) render(b book, facts map[string]any) (plan incident.Plan, reason string) {
	if b.when != nil {
		matches, err := b.when.True(facts)
		if err != nil {
			return plan, err.Error()
		}
		if !matches {
			return plan, "when is false: " + strings.Join(strings.Fields(b.Match.When), " ")
		}
	}
	if b.report != nil {
		text, err := b.report.Text(facts, quoted)
		if err != nil {
			return plan, fmt.Sprintf("report: %v", err)
		}
		return incident.Plan{Steps: []incident.Step{}, Report: text}, ""
	}
	steps, reason := s.steps(b, facts)
	return incident.Plan{Steps: steps, Verify: b.verify, Undo: b.Undo}, reason
}

// steps computes the parameters of every step.
func (s *Set) steps(b book, facts map[string]any) (steps []incident.Step, reason string) {
	for i, step := range b.Steps {
		with := maps.Clone(step.With)
		for _, v := range b.values[i] {
			field := strings.Join(v.path, ".")
			computed, err := v.template.Eval(facts)
			if err != nil {
				return nil, fmt.Sprintf("step %s, with.%s: %v", step.Name, field, err)
			}
			if f, ok := computed.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				return nil, fmt.Sprintf("step %s, with.%s: it is %v, which is not a finite number", step.Name, field, f)
			}
			with = put(with, v.path, computed)
		}
		schema := s.with[step.Action]
		if err := schema.rendered.CheckValue(plain(with), "with"); err != nil {
			return nil, fmt.Sprintf("step %s: %v", step.Name, err)
		}
		steps = append(steps, incident.Step{Name: step.Name, Action: step.Action, With: with, Irreversible: schema.irreversible})
	}
	return steps, ""
}

// put is m with v at a path. What lies on the way is copied, since the runbook has it too.
func put(m map[string]any, path []string, v any) map[string]any {
	m = maps.Clone(m)
	if len(path) > 1 {
		below, _ := m[path[0]].(map[string]any)
		v = put(below, path[1:], v)
	}
	m[path[0]] = v
	return m
}

// plain is what a schema checks of no parameters: an empty mapping.
func plain(with map[string]any) map[string]any {
	if with == nil {
		return map[string]any{}
	}
	return with
}
