package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func TestRespond(t *testing.T) {
	t.Parallel()
	failing := errors.New("the node is on fire")
	tests := []struct {
		name   string
		d      *stages
		alert  incident.Notification // zero: one about cgroup /a
		change func(*Options)
		want   incident.Outcome
		reason string   // a part of it
		asked  []string // of the stages, in order
	}{
		{name: "fixed", want: incident.Fixed, reason: "1% after",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "notify fixed"}},
		{name: "no target", want: incident.NoTarget, reason: "no label cgroup", alert: firing(""), asked: []string{"notify no_target"}},
		{name: "clean", d: &stages{diagnose: saying(incident.Clean, "the kernel is clean")}, want: incident.OutcomeClean, reason: "the kernel is clean",
			asked: []string{"diagnose", "notify clean"}},
		{name: "inconclusive", d: &stages{diagnose: saying(incident.Inconclusive, "no agent on node-1")}, want: incident.OutcomeInconclusive, reason: "no agent",
			asked: []string{"diagnose", "notify inconclusive"}},
		{name: "confirmed without a confirmed finding", d: &stages{diagnose: saying(incident.Confirmed, "trust me")}, want: incident.OutcomeInconclusive,
			asked: []string{"diagnose", "notify inconclusive"}},
		{name: "diagnosis fails", d: &stages{diagnose: func(context.Context, incident.Target, time.Duration) (incident.Diagnosis, error) {
			return incident.Diagnosis{}, failing
		}}, want: incident.OutcomeInconclusive, reason: "on fire", asked: []string{"diagnose", "diagnose", "diagnose", "notify inconclusive"}},
		{name: "diagnosis never answers", d: &stages{diagnose: func(ctx context.Context, _ incident.Target, _ time.Duration) (incident.Diagnosis, error) {
			<-ctx.Done()
			return incident.Diagnosis{}, ctx.Err()
		}}, change: func(o *Options) { o.MeasureTimeout = 10 * time.Millisecond }, want: incident.OutcomeInconclusive, reason: "no diagnosis within 11ms"},
		{name: "diagnosis panics", d: &stages{diagnose: func(context.Context, incident.Target, time.Duration) (incident.Diagnosis, error) { panic("oops") }},
			want: incident.Failed, reason: "panic: oops"},
		{name: "no runbook", d: &stages{plan: func(incident.Incident) (incident.Plan, bool, string, error) {
			return incident.Plan{}, false, "2 runbooks, none for cpu.throttled", nil
		}}, want: incident.NoRunbook, reason: "2 runbooks, none", asked: []string{"diagnose", "plan", "notify no_runbook"}},
		{name: "a report for a person", d: &stages{plan: forAPerson(nil)}, want: incident.Reported, reason: "runbook ask-somebody: nothing that kmend could change helps",
			asked: []string{"diagnose", "plan", "notify reported"}},
		{name: "a report for another cause", d: &stages{plan: forAPerson(func(p *incident.Plan) { p.Cause = incident.CPUSaturated })}, want: incident.Denied,
			reason: `it is for "cpu.saturated", and the kernel confirms "cpu.throttled"`, asked: []string{"diagnose", "plan", "notify denied"}},
		{name: "a report about another target", d: &stages{plan: forAPerson(func(p *incident.Plan) { p.Target.Cgroup = "/somebody/else" })}, want: incident.Denied,
			reason: "the plan's cgroup is not the one that was measured"},
		{name: "a report beside steps", d: &stages{plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
			p := twoSteps(inc)
			p.Report = "A person has to look."
			return p, true, "", nil
		}}, want: incident.Denied, reason: "has steps and a report", asked: []string{"diagnose", "plan", "notify denied"}},
		{name: "neither steps nor a report", d: &stages{plan: forAPerson(func(p *incident.Plan) { p.Report = "" })}, want: incident.Denied,
			reason: "has neither steps nor a report", asked: []string{"diagnose", "plan", "notify denied"}},
		{name: "runbook fails", d: &stages{plan: func(incident.Incident) (incident.Plan, bool, string, error) {
			return incident.Plan{}, false, "", failing
		}}, want: incident.Failed, reason: "rendering a runbook: the node is on fire"},
		{name: "plan for another cause", d: &stages{plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
			p := twoSteps(inc)
			p.Cause = incident.CPUSaturated
			return p, true, "", nil
		}}, want: incident.Denied, reason: `it is for "cpu.saturated", and the kernel confirms "cpu.throttled"`, asked: []string{"diagnose", "plan", "notify denied"}},
		{name: "plan for another target", d: &stages{plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
			p := twoSteps(inc)
			p.Target.Cgroup = "/somebody/else"
			return p, true, "", nil
		}}, want: incident.Denied, reason: "the plan's cgroup is not the one that was measured", asked: []string{"diagnose", "plan", "notify denied"}},
		{name: "preview changes the target", d: &stages{preview: func(_ context.Context, p incident.Plan) (incident.Plan, error) {
			p.Target.Node = "node-2"
			return p, nil
		}}, want: incident.Denied, reason: "the plan's node is not the one", asked: []string{"diagnose", "plan", "preview", "notify denied"}},
		{name: "preview fails", d: &stages{preview: func(context.Context, incident.Plan) (incident.Plan, error) { return incident.Plan{}, failing }},
			want: incident.Failed, reason: "preview of runbook raise-cpu-limit: the node is on fire", asked: []string{"diagnose", "plan", "preview", "notify failed"}},
		{name: "a right is missing", d: &stages{preview: func(context.Context, incident.Plan) (incident.Plan, error) {
			return incident.Plan{}, fmt.Errorf("cannot patch pods: %w", incident.ErrForbidden)
		}}, want: incident.Denied, reason: "preview of runbook raise-cpu-limit: cannot patch pods", asked: []string{"diagnose", "plan", "preview", "notify denied"}},
		{name: "denied", d: &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
			return incident.Decision{Effect: incident.Deny, Policy: "default", Rule: "kube-system", Reason: "never there"}
		}}, want: incident.Denied, reason: "deny by policy default/kube-system: never there", asked: []string{"diagnose", "plan", "preview", "decide", "notify denied"}},
		{name: "no answer is a denial", d: &stages{decide: func(incident.Incident, incident.Plan) incident.Decision { return incident.Decision{} }},
			want: incident.Denied, reason: "no answer"},
		{name: "guard panics", d: &stages{decide: func(incident.Incident, incident.Plan) incident.Decision { panic("oops") }},
			want: incident.Denied, reason: "guard panicked"},
		{name: "dry run", d: &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
			return incident.Decision{Effect: incident.Allow, DryRun: true}
		}}, want: incident.DryRun, reason: "raise first; raise second", asked: []string{"diagnose", "plan", "preview", "decide", "notify dry_run"}},
		{name: "dry run asks nobody", d: &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
			return incident.Decision{Effect: incident.RequireApproval, DryRun: true}
		}}, want: incident.DryRun},
		{name: "nobody answers", d: &stages{decide: askPerson}, change: func(o *Options) { o.ApprovalExpiry = 20 * time.Millisecond },
			want: incident.Expired, reason: "nobody answered", asked: []string{"diagnose", "plan", "preview", "decide", "notify expired"}},
		{name: "evidence too old", d: &stages{}, change: func(o *Options) { o.MaxEvidenceAge = func() time.Duration { return time.Nanosecond } }, want: incident.Expired, reason: "old, more than 1ns"},
		{name: "first step fails", d: &stages{apply: func(context.Context, incident.Plan, int) (incident.Execution, error) {
			return incident.Execution{}, failing
		}}, want: incident.Failed, reason: "step 1 of 2: the node is on fire", asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "notify failed"}},
		{name: "second step fails", d: &stages{apply: failAt(1, failing)}, want: incident.Failed, reason: "undone",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "undo 0", "notify failed"}},
		{name: "second step fails halfway", d: &stages{apply: func(_ context.Context, _ incident.Plan, i int) (incident.Execution, error) {
			if i == 1 {
				return incident.Execution{State: map[string]string{"half": "done"}}, failing
			}
			return incident.Execution{Result: "applied", State: map[string]string{}}, nil
		}}, want: incident.Failed, asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "undo 1", "undo 0", "notify failed"}},
		{name: "somebody did the first step", d: &stages{apply: already(0)}, want: incident.Failed, reason: "somebody has set it already: nothing was changed by kmend",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "notify failed"}},
		{name: "somebody did the second step", d: &stages{apply: already(1)}, want: incident.Failed, reason: "what was applied before it was undone",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "undo 0", "notify failed"}},
		{name: "step panics", d: &stages{apply: func(context.Context, incident.Plan, int) (incident.Execution, error) { panic("oops") }},
			want: incident.Failed, reason: "the action panicked: oops"},
		{name: "guards change their mind between the steps", d: &stages{decide: denyFrom(3)}, want: incident.Denied, reason: "what was applied before it was undone",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "undo 0", "notify denied"}},
		{name: "guards change their mind before the first step", d: &stages{decide: denyFrom(2)}, want: incident.Denied, reason: "asked again",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "notify denied"}},
		{name: "not better", d: &stages{verify: worse}, want: incident.Undone, reason: "44% after; it was undone",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "undo 1", "undo 0", "notify undone"}},
		{name: "not better and cannot be undone", d: &stages{verify: worse, undo: func(context.Context, incident.Plan, incident.Execution) (incident.Execution, error) {
			return incident.Execution{}, errors.New("somebody changed it")
		}}, want: incident.Failed, reason: "undoing step 2: somebody changed it"},
		{name: "not better and never undone", d: &stages{verify: worse, plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
			p := twoSteps(inc)
			p.Undo = incident.UndoNever
			return p, true, "", nil
		}}, want: incident.Failed, reason: "undo: never"},
		{name: "the second measurement fails", d: &stages{diagnose: onceThen(throttled, failing), verify: worse}, want: incident.Undone},
		{name: "the second measurement says nothing at first", d: &stages{diagnose: nothingOn(2, 3), verify: betterIfKnown}, want: incident.Fixed,
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "diagnose", "verify", "diagnose", "verify", "notify fixed"}},
		{name: "the second measurement says nothing", d: &stages{diagnose: nothingOn(2, 3, 4), verify: betterIfKnown}, want: incident.Undone,
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "diagnose", "verify", "diagnose", "verify", "undo 1", "undo 0", "notify undone"}},
		{name: "much better and not yet gone", d: &stages{verify: improvedThenBetter(2)}, want: incident.Fixed,
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "diagnose", "verify", "notify fixed"}},
		{name: "much better and never gone", d: &stages{verify: improvedThenBetter(4)}, want: incident.Undone,
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "apply 1", "diagnose", "verify", "diagnose", "verify", "diagnose", "verify", "undo 1", "undo 0", "notify undone"}},
		{name: "dry run is switched on before the first step", d: &stages{decide: dryRunFrom(2)}, want: incident.Denied, reason: "dry run was switched on",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "notify denied"}},
		{name: "dry run is switched on between the steps", d: &stages{decide: dryRunFrom(3)}, want: incident.Denied, reason: "dry run was switched on",
			asked: []string{"diagnose", "plan", "preview", "decide", "decide", "apply 0", "decide", "undo 0", "notify denied"}},
		{name: "the report fails", d: &stages{notify: func(context.Context, incident.Incident) error { return failing }}, want: incident.Fixed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.d == nil {
				tt.d = &stages{}
			}
			var change []func(*Options)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			b := start(t, tt.d, change...)
			if tt.alert.Alerts == nil {
				tt.alert = firing("/a")
			}
			b.ingest(tt.alert)
			inc := b.reported()
			checkTimeline(t, inc)
			if inc.Outcome != tt.want {
				t.Errorf("outcome %q (%s), want %q", inc.Outcome, inc.Reason, tt.want)
			}
			if !strings.Contains(inc.Reason, tt.reason) || inc.Reason == "" {
				t.Errorf("reason %q, want %q in it", inc.Reason, tt.reason)
			}
			if got := tt.d.notes(); tt.asked != nil && !slices.Equal(got, tt.asked) {
				t.Errorf("stages asked %q\nwant %q", got, tt.asked)
			}
		})
	}
}

func failAt(step int, err error) func(context.Context, incident.Plan, int) (incident.Execution, error) {
	return func(_ context.Context, _ incident.Plan, i int) (incident.Execution, error) {
		if i == step {
			return incident.Execution{}, err
		}
		return incident.Execution{Result: "applied", State: map[string]string{}}, nil
	}
}

// already finds the change of a step in place, made by somebody else.
func already(step int) func(context.Context, incident.Plan, int) (incident.Execution, error) {
	return func(_ context.Context, _ incident.Plan, i int) (incident.Execution, error) {
		e := incident.Execution{Result: "applied", State: map[string]string{"was": "0.3"}}
		if i == step {
			e.Result = "already applied"
		}
		return e, nil
	}
}

func denyFrom(ask int) func(incident.Incident, incident.Plan) incident.Decision {
	n := 0
	return func(incident.Incident, incident.Plan) incident.Decision {
		if n++; n >= ask {
			return incident.Decision{Effect: incident.Deny, Reason: "a person said stop"}
		}
		return incident.Decision{Effect: incident.Allow}
	}
}

func dryRunFrom(ask int) func(incident.Incident, incident.Plan) incident.Decision {
	n := 0
	return func(incident.Incident, incident.Plan) incident.Decision {
		n++
		return incident.Decision{Effect: incident.Allow, DryRun: n >= ask}
	}
}

// nothingOn measures nothing at the given calls.
func nothingOn(calls ...int) func(context.Context, incident.Target, time.Duration) (incident.Diagnosis, error) {
	n := 0
	return func(ctx context.Context, t incident.Target, w time.Duration) (incident.Diagnosis, error) {
		if n++; slices.Contains(calls, n) {
			return saying(incident.Inconclusive, "the agent is busy")(ctx, t, w)
		}
		return throttled(t), nil
	}
}

func betterIfKnown(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
	return incident.Verification{Cause: p.Cause, Better: after.Verdict != incident.Inconclusive, Reason: "verified", Diagnosis: after}
}

// improvedThenBetter is not gone before the nth look.
func improvedThenBetter(nth int) func(incident.Plan, incident.Diagnosis, incident.Diagnosis) incident.Verification {
	n := 0
	return func(p incident.Plan, _, after incident.Diagnosis) incident.Verification {
		n++
		return incident.Verification{Cause: p.Cause, Improved: true, Better: n >= nth, Reason: "verified", Diagnosis: after}
	}
}

func onceThen(first func(incident.Target) incident.Diagnosis, then error) func(context.Context, incident.Target, time.Duration) (incident.Diagnosis, error) {
	n := 0
	return func(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		if n++; n == 1 {
			return first(t), nil
		}
		return incident.Diagnosis{}, then
	}
}

// TestTimelineComesFirst is "every transition is on the timeline before it is
// acted on": what a stage finds there when it is called.
func TestTimelineComesFirst(t *testing.T) {
	t.Parallel()
	var b bench
	seen := map[string]string{}
	see := func(what string) {
		inc := b.only()
		seen[what] = inc.Timeline[len(inc.Timeline)-1].Kind + " " + string(inc.Phase)
	}
	ready := make(chan struct{})
	d := &stages{}
	d.diagnose = func(_ context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		<-ready
		if _, first := seen["diagnose"]; !first {
			see("diagnose")
		} else {
			see("diagnose again")
		}
		return throttled(tg), nil
	}
	d.decide = func(incident.Incident, incident.Plan) incident.Decision {
		see("decide")
		return incident.Decision{Effect: incident.Allow}
	}
	d.apply = func(context.Context, incident.Plan, int) (incident.Execution, error) {
		see("apply")
		return incident.Execution{Result: "applied"}, nil
	}
	d.undo = func(context.Context, incident.Plan, incident.Execution) (incident.Execution, error) {
		see("undo")
		return incident.Execution{Result: "undone"}, nil
	}
	d.verify = worse
	d.notify = func(context.Context, incident.Incident) error { see("notify"); return nil }
	b = start(t, d)
	b.ingest(firing("/a"))
	close(ready)
	b.reported()
	want := map[string]string{"diagnose": "measuring diagnosing", "diagnose again": "verifying verifying", "apply": "intent executing",
		"decide": "applied executing", "undo": "undo_intent verifying", "notify": "closed escalated"}
	for what, w := range want {
		if seen[what] != w {
			t.Errorf("when %s was called, the timeline ended with %q, want %q", what, seen[what], w)
		}
	}
}
