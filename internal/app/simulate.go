package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/remediate"
	"github.com/kmend/kmend/report"
	"github.com/kmend/kmend/runbooks"
)

// simulateStep bounds the dry run of one step.
const simulateStep = 30 * time.Second

// Simulate says what a runbook would do about an incident with this configuration:
// the rendered steps, what each one's dry run answers and what the policies decide.
// runbook is the name of a loaded one or a file of them; at is when the policies
// judge, by what past did until then and by whether it is paused now; past is nil where
// nobody knows, and then limits of rate count from zero. Nothing is changed, and no
// database is opened. An error is for what cannot be read; a runbook that does not
// match and a dry run that is refused are answers.
func Simulate(ctx context.Context, c Config, o Options, runbook string, inc incident.Incident, at time.Time, past Past) (report.Simulation, error) {
	a := &App{config: c, opts: o, log: o.Logger, registry: prometheus.NewRegistry()}
	s := report.Simulation{APIVersion: incident.APIVersion, Kind: "Simulation", Incident: inc.ID, At: at, Runbook: runbook}
	node, err := c.nodeName()
	if err != nil {
		return s, err
	}
	cluster, dyn, unreachable := c.cluster(o.Version)
	executor, err := a.executor(node, cluster, dyn)
	if err != nil {
		return s, err
	}
	loaded, err := a.planner(executor.Specs())
	if err != nil {
		return s, fmt.Errorf("loading runbooks: %w", err)
	}
	rules, err := a.policies()
	if err != nil {
		return s, fmt.Errorf("loading policies: %w", err)
	}
	var history guard.History = nothingDone{}
	var switches []guard.Switch
	if s.FromZero = past == nil; past != nil {
		history, switches = asAt{past, at}, []guard.Switch{past}
	}
	guards, err := a.guard(rules.WithClock(func() time.Time { return at }), history, switches, cluster)
	if err != nil {
		return s, err
	}
	set, err := pick(runbook, loaded, executor.Specs())
	if err != nil {
		return s, err
	}
	inc = asDiagnosed(inc)
	if taken, ok, _, _ := loaded.Plan(inc); ok {
		s.Taken = taken.Runbook
	}
	plan, ok, why, err := set.Plan(inc)
	if err != nil {
		return s, fmt.Errorf("rendering runbook %s: %w", runbook, err)
	}
	if s.Matches, s.Why = ok, why; !ok {
		s.Phase, s.Outcome = incident.Escalated, incident.NoRunbook
		return s, nil
	}
	s.Plan = &plan
	if plan.ReportOnly() {
		s.Phase, s.Outcome = incident.Escalated, incident.Reported
		return s, nil
	}
	preview(ctx, executor, &s, unreachable)
	judge(ctx, guards, inc, &s)
	s.Phase, s.Outcome = next(s)
	return s, nil
}

// pick is the runbook of a name, or those of a file.
func pick(runbook string, loaded *runbooks.Set, specs []remediate.Spec) (*runbooks.Set, error) {
	if IsRunbookFile(runbook) {
		set, err := runbooks.Load([]string{runbook}, known(specs))
		if err != nil {
			return nil, err
		}
		return set, nil
	}
	only, ok := loaded.Only(runbook)
	if !ok {
		return nil, fmt.Errorf("no runbook %q is loaded; there are: %s%s", runbook,
			strings.Join(loaded.Names(), ", "), document.Nearest(runbook, loaded.Names()))
	}
	return only, nil
}

// IsRunbookFile tells a file from a runbook's name, which has neither dot nor slash.
func IsRunbookFile(s string) bool { return strings.ContainsAny(s, "./") || filepath.IsAbs(s) }

// asDiagnosed is the incident as it was when its plan was made: what came after is
// not to be seen by conditions.
func asDiagnosed(inc incident.Incident) incident.Incident {
	inc.Phase, inc.Outcome, inc.Reason, inc.ClosedAt = incident.Diagnosing, "", "", time.Time{}
	inc.Plan, inc.Decisions, inc.Approval, inc.Executions, inc.Verification = nil, nil, nil, nil, nil
	return inc
}

// preview asks each step for its dry run, those after one that is refused too.
// unreachable is why there is no client of the cluster.
func preview(ctx context.Context, e *remediate.Executor, s *report.Simulation, unreachable error) {
	for i, step := range s.Plan.Steps {
		one := *s.Plan
		one.Steps = []incident.Step{step}
		answer, err := previewStep(ctx, e, one)
		if err != nil && unreachable != nil && strings.HasPrefix(step.Action, "kubernetes.") {
			err = unreachable
		}
		if err != nil {
			s.Refused = append(s.Refused, report.Refusal{Step: i, Error: err.Error()})
			continue
		}
		s.Plan.Steps[i] = answer.Steps[0]
	}
}

func previewStep(ctx context.Context, e *remediate.Executor, plan incident.Plan) (_ incident.Plan, err error) {
	ctx, cancel := context.WithTimeout(ctx, simulateStep)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the action panicked: %v", v)
		}
	}()
	answer, err := e.Preview(ctx, plan)
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // which step it was stands beside it already
	}
	return answer, err
}

// judge asks the policies. What each of them answered is in the decision; one that
// is not there had no rule that matched. Where kmend itself denies before it asks
// any, none of them has an answer.
func judge(ctx context.Context, g *guard.Guard, inc incident.Incident, s *report.Simulation) {
	d := g.Decide(ctx, inc, *s.Plan)
	s.Decision = &d
	if len(d.Answers) == 0 && d.Rule != "no match" {
		return
	}
	for _, name := range g.Policies.Names() {
		silent := !slices.ContainsFunc(d.Answers, func(a incident.Answer) bool { return a.Policy == name })
		if silent {
			s.Silent = append(s.Silent, name)
		}
	}
}

// next is how far the incident would come, as in internal/respond.
func next(s report.Simulation) (incident.Phase, incident.Outcome) {
	switch {
	case len(s.Refused) > 0:
		return incident.Escalated, incident.Failed
	case s.Decision.Effect != incident.Allow && s.Decision.Effect != incident.RequireApproval:
		return incident.Escalated, incident.Denied
	case s.Decision.DryRun:
		return incident.Escalated, incident.DryRun
	case s.Decision.Effect == incident.RequireApproval:
		return incident.AwaitingApproval, ""
	}
	return incident.Executing, ""
}
