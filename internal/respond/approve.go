package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Approve commits a person's answer to an incident that waits for one; the
// caller has made sure that a.By is who says so. Whether that person may answer
// is asked here: it is in the decision about the plan. An answer is bound to the
// plan with digest a.Plan, and the plan goes on when as many different persons as
// the decision wants have said yes: see store.Approve for what is refused. A yes
// to what would not be done is store.ErrNotAllowed, and the incident goes on waiting.
func (r *Responder) Approve(ctx context.Context, a incident.Approval) error {
	if a.By == "" || a.Plan == "" {
		return errors.New("an answer needs who gives it and the digest of the plan it is about")
	}
	persons, err := r.answerable(ctx, a)
	if err != nil {
		return fmt.Errorf("answering incident %q: %w", a.Incident, err)
	}
	if err := r.Store.Approve(ctx, a, persons); err != nil {
		return err
	}
	r.bells.ring(a.Incident)
	r.changed(a.Incident, true)
	return nil
}

// answerable asks everything again that was asked before the plan was shown, so
// that who says yes hears at once what speaks against it, and returns how many
// persons have to say yes. It is 0 for an answer that the store refuses anyway.
func (r *Responder) answerable(ctx context.Context, a incident.Approval) (persons int, err error) {
	p, err := r.Store.Progress(ctx, a.Incident)
	if err != nil {
		return 0, err
	}
	if p.Phase != incident.AwaitingApproval || p.Approval != nil || p.Plan.Digest() != a.Plan {
		return 0, nil
	}
	first, _ := firstDecision(p)
	now := r.decide(ctx, remeasured(p.Incident), *p.Plan)
	who := asked(first, now)
	if err := r.entitled(ctx, who, a); err != nil {
		return 0, err
	}
	// Whoever gets the click writes this down, whichever replica has the incident; not
	// for those who may not answer, or anybody could fill the timeline.
	e := decided(fmt.Sprintf("asked again at the answer of %s: ", a.By), now)
	if err := r.Store.Note(ctx, a.Incident, askedAgain(e), e); err != nil {
		return 0, err
	}
	r.changed(a.Incident, false)
	persons = max(who.Needed(), first.Approval.Needed())
	if !a.Approve {
		return persons, nil // whoever may say yes may say no, whatever has changed
	}
	if resolved(p.Alerts) {
		return 0, fmt.Errorf("%w: the alert has resolved", store.ErrNotAllowed)
	}
	if err := grounded(p.Incident, *p.Plan); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrNotAllowed, err)
	}
	if now.Effect == incident.Deny || now.DryRun {
		return 0, fmt.Errorf("%w: asked again: %s", store.ErrNotAllowed, describe(now))
	}
	return persons, r.unchanged(ctx, *p.Plan)
}

// remeasured is inc as if its measurement were new, which is what refresh makes
// true: the age of the evidence alone is no reason to refuse an answer.
func remeasured(inc incident.Incident) incident.Incident {
	d := *inc.Diagnosis
	d.Window.Start = d.Window.Start.Add(time.Since(measuredAt(d)))
	inc.Diagnosis = &d
	return inc
}

// approve waits for a person where the guards ask for one. The answer and its
// deadline are in the store, so waiting goes on after a restart, and what was
// acknowledged to the person is there.
func (r *Responder) approve(ctx context.Context, p store.Progress) (End, error) {
	if d, _ := firstDecision(p); d.Effect != incident.RequireApproval {
		return End{}, nil
	}
	until := time.Now().Add(r.ApprovalExpiry)
	err := r.record(ctx, p.ID, "awaiting_approval", store.Change{To: incident.AwaitingApproval, AnswerBy: until, Event: incident.Event{
		Kind: "awaiting_approval", Message: "waiting for an approval until " + until.UTC().Format(time.RFC3339),
		Fields: map[string]string{"plan": p.Plan.Digest()}}})
	if err != nil {
		return End{}, err
	}
	for {
		answered := r.bells.listen(p.ID)
		p, err = r.Store.Progress(ctx, p.ID)
		if err != nil {
			return End{}, err
		}
		left := time.Until(p.AnswerBy)
		switch {
		case p.Phase.Closed():
			return End{}, store.ErrClosed
		case p.Approval != nil && !p.Approval.Approve:
			return end(incident.Denied, "rejected by %s", p.Approval.By), nil
		case p.Approval != nil:
			return r.refresh(ctx, p)
		case left <= 0:
			over, err := r.giveUp(ctx, p)
			if err != nil || over.over() {
				return over, err
			}
			continue
		}
		if err := wait(ctx, answered, left); err != nil {
			return End{}, err
		}
	}
}

// refresh measures again where the evidence got old while a person was asked. The
// approved plan goes on only if its cause is still confirmed on its target.
func (r *Responder) refresh(ctx context.Context, p store.Progress) (End, error) {
	_, begun := p.Keys["diagnosed/approved"]
	if p.Phase != incident.AwaitingApproval {
		return End{}, nil
	}
	if !begun {
		if old, err := r.outOfDate(ctx, p); err != nil || !old {
			return End{}, err
		}
	}
	e, err := r.measureAgain(ctx, p, "approved")
	if err != nil || e.over() {
		return e, err
	}
	if p, err = r.Store.Progress(ctx, p.ID); err != nil {
		return End{}, err
	}
	if err := grounded(p.Incident, *p.Plan); err != nil {
		return end(incident.Denied, "measured again after the approval: %v", err), nil
	}
	return End{}, nil
}

// outOfDate reports whether p's measurement is too old to act on, for kmend or,
// if nothing else speaks against the plan, for the guards.
func (r *Responder) outOfDate(ctx context.Context, p store.Progress) (bool, error) {
	if time.Since(measuredAt(*p.Diagnosis)) > r.MaxEvidenceAge() {
		return true, nil
	}
	now := r.decide(ctx, p.Incident, *p.Plan)
	if now.Effect != incident.Deny || r.decide(ctx, remeasured(p.Incident), *p.Plan).Effect == incident.Deny {
		return false, nil
	}
	e := decided("asked again after the approval: ", now)
	return true, r.record(ctx, p.ID, askedAgain(e), store.Change{Event: e})
}

// giveUp ends the wait unless an answer was committed in this very moment.
func (r *Responder) giveUp(ctx context.Context, p store.Progress) (End, error) {
	late := end(incident.Expired, "nobody answered until %s", p.AnswerBy.UTC().Format(time.RFC3339))
	fresh, err := r.Store.Record(ctx, p.ID, store.KeyAnswer, store.Change{Event: incident.Event{Kind: "expired", Message: late.Reason}})
	if err != nil {
		return End{}, err
	}
	if _, before := p.Keys[store.KeyAnswer]; !fresh && !before {
		return End{}, nil // somebody was faster: read it
	}
	return late, nil
}

// wait ends with the bell, after d, or with ctx, which is its error.
func wait(ctx context.Context, bell <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-bell:
	case <-t.C:
	case <-ctx.Done():
		return fmt.Errorf("waiting for an approval: %w", context.Cause(ctx))
	}
	return nil
}
