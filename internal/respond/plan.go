package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// plan renders the runbook for the confirmed cause and asks every action for its
// dry run. What it keeps is what a person sees and approves.
func (r *Responder) plan(ctx context.Context, p store.Progress) (End, error) {
	if p.Plan != nil {
		return reported(*p.Plan), nil
	}
	plan, ok, why, err := r.Planner.Plan(p.Incident)
	switch {
	case err != nil:
		return end(incident.Failed, "rendering a runbook: %v", err), nil
	case !ok:
		return end(incident.NoRunbook, "%s", or(why, "no runbook matches")), nil
	}
	if err := grounded(p.Incident, plan); err != nil {
		return end(incident.Denied, "%v", err), nil
	}
	if plan.ReportOnly() {
		// Nothing is changed, so there is nothing to preview and nothing to guard.
		if err := r.planned(ctx, p.ID, plan, "for a person: its report says what to do"); err != nil {
			return End{}, err
		}
		return reported(plan), nil
	}
	name := plan.Runbook
	err = r.inTurn(ctx, func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, r.StageTimeout)
		defer cancel()
		plan, err = r.Executor.Preview(ctx, plan)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return End{}, context.Cause(ctx)
	case errors.Is(err, incident.ErrForbidden):
		return end(incident.Denied, "preview of runbook %s: %v", name, err), nil // nothing is amiss: nobody gave it the right
	case err != nil:
		return end(incident.Failed, "preview of runbook %s: %v", name, err), nil
	}
	if err := grounded(p.Incident, plan); err != nil {
		return end(incident.Denied, "%v", err), nil
	}
	return End{}, r.planned(ctx, p.ID, plan, summary(plan))
}

// inTurn does what asks the cluster for a plan or its guards, when there is room.
func (r *Responder) inTurn(ctx context.Context, do func() error) error {
	leave, err := r.plans.enter(ctx, "")
	if err != nil {
		return err
	}
	defer leave()
	return do()
}

// planned writes the plan down.
func (r *Responder) planned(ctx context.Context, id string, plan incident.Plan, what string) error {
	return r.record(ctx, id, "planned", store.Change{To: incident.Planned, Plan: &plan, Event: incident.Event{
		Kind: "planned", Message: fmt.Sprintf("runbook %s: %s", plan.Runbook, what), Fields: map[string]string{"plan": plan.Digest()}}})
}

// reported ends an incident whose plan is for a person; any other goes on.
func reported(plan incident.Plan) End {
	if !plan.ReportOnly() {
		return End{}
	}
	return end(incident.Reported, "runbook %s: nothing that kmend could change helps; a person has to look", plan.Runbook)
}

// grounded is invariant 1: a plan acts only on a confirmed finding of its own
// cause, on the target that was measured, which is the one that kmend asked about.
func grounded(inc incident.Incident, plan incident.Plan) error {
	if inc.Diagnosis == nil || verdictOf(*inc.Diagnosis) != incident.Confirmed {
		return fmt.Errorf("runbook %s must not act: no cause is confirmed", plan.Runbook)
	}
	confirmed := slices.ContainsFunc(inc.Diagnosis.Findings, func(f incident.Finding) bool {
		return f.Verdict == incident.Confirmed && f.Cause == plan.Cause
	})
	if plan.Cause == "" || !confirmed {
		return fmt.Errorf("runbook %s must not act: it is for %q, and the kernel confirms %q", plan.Runbook, plan.Cause, inc.Diagnosis.Findings[0].Cause)
	}
	switch {
	case len(plan.Steps) == 0 && plan.Report == "":
		return fmt.Errorf("runbook %s has neither steps nor a report", plan.Runbook)
	case len(plan.Steps) > 0 && plan.Report != "":
		return fmt.Errorf("runbook %s has steps and a report; it must have one of them", plan.Runbook)
	}
	measured := inc.Diagnosis.Target
	if field := differ(inc.Aim(), measured); field != "" {
		return fmt.Errorf("runbook %s must not act: the %s that was measured is not the one that was asked about", plan.Runbook, field)
	}
	for _, other := range []incident.Target{inc.Aim(), measured} {
		if field := differ(other, plan.Target); field != "" {
			return fmt.Errorf("runbook %s must not act: the plan's %s is not the one that was measured", plan.Runbook, field)
		}
	}
	known := []string{inc.Aim().Cgroup, measured.Cgroup}
	if plan.Target.Pod == "" && plan.Target.Cgroup != "" && !slices.Contains(known, plan.Target.Cgroup) {
		return fmt.Errorf("runbook %s must not act: the plan's cgroup is not the one that was measured", plan.Runbook)
	}
	return nil
}

// differ names the field in which b is certainly something else than a: set in
// both and different, or what names a and is missing in b. A cgroup has several
// paths, one a hierarchy, so a difference there says nothing by itself.
func differ(a, b incident.Target) string {
	for _, f := range []struct{ name, a, b string }{
		{"cluster", a.Cluster, b.Cluster}, {"node", a.Node, b.Node},
		{"namespace", a.Namespace, b.Namespace}, {"pod", a.Pod, b.Pod}, {"pod uid", a.PodUID, b.PodUID},
		{"container", a.Container, b.Container}, {"container id", a.ContainerID, b.ContainerID}, {"unit", a.Unit, b.Unit},
		{"pid", pid(a), pid(b)},
	} {
		if f.a != "" && f.b != "" && f.a != f.b {
			return f.name
		}
	}
	switch {
	case a.Pod != "" && b.Pod == "":
		return "pod"
	case a.Pod == "" && a.Unit != "" && b.Unit == "" && b.Cgroup == "":
		return "unit"
	case b.IsZero():
		return "target"
	}
	return ""
}

func pid(t incident.Target) string {
	if t.PID == 0 {
		return ""
	}
	return fmt.Sprint(t.PID)
}

// summary is the plan in one line: what its previews say.
func summary(plan incident.Plan) string {
	var parts []string
	for _, s := range plan.Steps {
		if s.Preview != nil && s.Preview.Summary != "" {
			parts = append(parts, s.Preview.Summary)
		} else {
			parts = append(parts, s.Action)
		}
	}
	return strings.Join(parts, "; ")
}
