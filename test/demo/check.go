package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/throttled"
)

// checkDryRun holds the first incident against what must have happened.
func (d *demo) checkDryRun(inc incident.Incident) error {
	if err := confirmed(inc, incident.DryRun); err != nil {
		return err
	}
	if len(inc.Executions) != 0 {
		return fmt.Errorf("incident %s is a dry run and has %d executions", inc.ID, len(inc.Executions))
	}
	want := throttled.DefaultOptions().Quota
	if q, err := d.workload.Quota(); err != nil || !same(q, want) {
		return errors.Join(err, fmt.Errorf("the dry run left a quota of %.2f CPU; it was %.2f", q, want))
	}
	d.say("the kernel still has a quota of %.1f CPU: nothing was changed", want)
	return nil
}

// checkFixed holds the second incident against the kernel.
func (d *demo) checkFixed(ctx context.Context, inc incident.Incident) error {
	if err := confirmed(inc, incident.Fixed); err != nil {
		return err
	}
	if len(inc.Executions) == 0 || inc.Verification == nil || !inc.Verification.Better {
		return fmt.Errorf("incident %s is fixed without an execution and a verification", inc.ID)
	}
	old := throttled.DefaultOptions().Quota
	q, err := d.workload.Quota()
	if err != nil {
		return err
	}
	if q <= old {
		return fmt.Errorf("incident %s is fixed, and the quota is %.2f CPU; it was %.2f", inc.ID, q, old)
	}
	before, err := d.workload.Stat()
	if err != nil {
		return err
	}
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := d.workload.Stat()
	if err != nil {
		return err
	}
	grown := after.Sub(before)
	if grown.Periods == 0 || grown.Throttled > grown.Periods/5 {
		return fmt.Errorf("incident %s is fixed, and the kernel throttled the workload in %d of %d periods since", inc.ID, grown.Throttled, grown.Periods)
	}
	d.say("the kernel has a quota of %.1f CPU and throttled the workload in %d of the last %d periods", q, grown.Throttled, grown.Periods)
	if l, err := d.workload.Latency(); err == nil {
		d.say("workload: a request takes %s (median), %s (p99)", round(l.P50), round(l.P99))
	}
	return nil
}

// confirmed is what both incidents must have: the outcome, the cause that the
// kernel confirmed, and a plan with the answer of its dry run.
func confirmed(inc incident.Incident, want incident.Outcome) error {
	if inc.Outcome != want {
		return fmt.Errorf("incident %s ended as %s (%s); it should be %s", inc.ID, inc.Outcome, inc.Reason, want)
	}
	if inc.Diagnosis == nil {
		return fmt.Errorf("incident %s has no diagnosis", inc.ID)
	}
	if f, ok := inc.Diagnosis.RootCause(); !ok || f.Cause != incident.CPUThrottled {
		return fmt.Errorf("incident %s: the root cause is %q (%s); it should be %s", inc.ID, f.Cause, inc.Diagnosis.Verdict, incident.CPUThrottled)
	}
	if inc.Plan == nil || len(inc.Plan.Steps) == 0 || inc.Plan.Steps[0].Preview == nil {
		return fmt.Errorf("incident %s has no plan with a preview", inc.ID)
	}
	return nil
}

func same(a, b float64) bool { return math.Abs(a-b) < 0.001 }
