package respond

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// guard asks the policies about the plan. A dry run ends here, with the plan shown.
func (r *Responder) guard(ctx context.Context, p store.Progress) (End, error) {
	d, asked := firstDecision(p)
	if !asked {
		if err := r.inTurn(ctx, func() error { d = r.decide(ctx, p.Incident, *p.Plan); return nil }); err != nil {
			return End{}, err
		}
		if err := r.record(ctx, p.ID, "decided", store.Change{Decision: &d, Event: decided("", d)}); err != nil {
			return End{}, err
		}
	}
	switch {
	case d.Effect == incident.Deny:
		return end(incident.Denied, "%s", describe(d)), nil
	case d.DryRun:
		return end(incident.DryRun, "dry run: %s", summary(*p.Plan)), nil
	}
	return End{}, nil
}

// decide is the guards' answer, made safe: no answer is a denial, and a
// plan may need a person whatever they say.
func (r *Responder) decide(ctx context.Context, inc incident.Incident, plan incident.Plan) (d incident.Decision) {
	defer func() {
		if v := recover(); v != nil {
			d = incident.Decision{Effect: incident.Deny, Reason: fmt.Sprintf("the guard panicked: %v", v)}
		}
		r.metrics.denied(d)
	}()
	d = r.Guard.Decide(ctx, inc, plan)
	switch {
	case d.Effect == incident.Allow && plan.NeedsPerson() != "":
		d.Effect, d.Reason = incident.RequireApproval, plan.NeedsPerson()+"; "+or(d.Reason, "allowed")
	case d.Effect != incident.Allow && d.Effect != incident.RequireApproval && d.Effect != incident.Deny:
		d.Reason = fmt.Sprintf("the guard answered %q, which is no answer", d.Effect)
		d.Effect = incident.Deny
	}
	d.DryRun = d.DryRun || inc.Test
	return d
}

// firstDecision is the answer that decides whether a person is asked.
func firstDecision(p store.Progress) (incident.Decision, bool) {
	if len(p.Decisions) == 0 {
		return incident.Decision{}, false
	}
	return p.Decisions[0], true
}

func describe(d incident.Decision) string {
	text := string(d.Effect)
	if d.DryRun {
		text += " (dry run)"
	}
	if d.Policy != "" {
		text += fmt.Sprintf(" by policy %s", d.Policy)
		if d.Rule != "" {
			text += "/" + d.Rule
		}
	}
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

// others are the objections of the guards that did not decide.
func others(d incident.Decision) (text string) {
	for _, a := range d.Answers {
		if a.Effect != incident.Allow && (a.Policy != d.Policy || a.Rule != d.Rule || a.Reason != d.Reason) {
			text += fmt.Sprintf("; %s by %s/%s: %s", a.Effect, a.Policy, a.Rule, a.Reason)
		}
	}
	return text
}

// decided is the timeline's line for an answer of the guards. when says on which
// occasion they were asked again, "" for the first time.
func decided(when string, d incident.Decision) incident.Event {
	return incident.Event{Kind: "decided", Message: when + describe(d) + others(d), Fields: map[string]string{"policy": d.Policy, "rule": d.Rule}}
}

// askedAgain is the key of such a line: the same answer on the same occasion, after
// a crash or at a second click, is one line.
func askedAgain(e incident.Event) string {
	return fmt.Sprintf("decided/%x", sha256.Sum256([]byte(e.Message)))
}

// stillAllowed asks everything again immediately before a step: the finding, its
// age, the guards, the approval. The outcome is "" for yes; d is then what the guards
// said, and d.Wait what there is no room for yet.
func (r *Responder) stillAllowed(ctx context.Context, p store.Progress) (outcome incident.Outcome, why string, d incident.Decision) {
	if err := grounded(p.Incident, *p.Plan); err != nil {
		return incident.Denied, err.Error(), d
	}
	if age, most := time.Since(measuredAt(*p.Diagnosis)), r.MaxEvidenceAge(); age > most {
		return incident.Expired, fmt.Sprintf("the measurement is %s old, more than %s", age.Round(time.Second), most), d
	}
	d = r.decide(ctx, p.Incident, *p.Plan)
	switch {
	case d.Effect == incident.Deny:
		return incident.Denied, "asked again before acting: " + describe(d), d
	case d.DryRun:
		return incident.Denied, "asked again before acting: dry run was switched on: " + describe(d), d
	case d.Effect == incident.RequireApproval && !approved(p, d):
		return incident.Denied, "asked again before acting: nobody approved this plan: " + describe(d), d
	}
	return "", "", d
}

// approved reports whether as many persons as d wants approved the very plan that
// is to be executed.
func approved(p store.Progress, d incident.Decision) bool {
	return p.Approval != nil && p.Approval.Approve && incident.Approved(p.Approvals, p.Plan.Digest()) >= d.Approval.Needed()
}

// measuredAt is the end of a diagnosis' window.
func measuredAt(d incident.Diagnosis) time.Time {
	return d.Window.Start.Add(time.Duration(d.Window.Seconds * float64(time.Second)))
}
