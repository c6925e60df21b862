package respond

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

func TestApproved(t *testing.T) {
	t.Parallel()
	d := &stages{decide: askPerson}
	b := start(t, d)
	b.ingest(firing("/a"))
	inc := b.awaiting()
	digest := inc.Plan.Digest()

	for _, bad := range []struct {
		a    incident.Approval
		want error
	}{
		{incident.Approval{Incident: inc.ID, Plan: "another", Approve: true, By: "ada", Name: "ada"}, store.ErrPlanChanged},
		{incident.Approval{Incident: "nothing", Plan: digest, Approve: true, By: "ada", Name: "ada"}, store.ErrNotFound},
	} {
		if err := b.Approve(t.Context(), bad.a); !errors.Is(err, bad.want) {
			t.Errorf("Approve(%+v) = %v, want %v", bad.a, err, bad.want)
		}
	}
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: digest, Approve: true}); err == nil {
		t.Error("an answer of nobody was taken")
	}
	clicked := time.Now()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: digest, Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: digest, Approve: false, By: "bob", Name: "bob"}); !errors.Is(err, store.ErrAnswered) && !errors.Is(err, store.ErrClosed) {
		t.Errorf("the second answer: %v, want ErrAnswered", err)
	}
	inc = b.reported()
	checkTimeline(t, inc)
	if inc.Outcome != incident.Fixed || inc.Approval == nil || inc.Approval.By != "ada" {
		t.Errorf("outcome %s, approval %+v", inc.Outcome, inc.Approval)
	}
	for _, e := range inc.Timeline {
		if e.Kind == "intent" {
			t.Logf("from the click to the first intent: %s", e.At.Sub(clicked))
			if e.At.Sub(clicked) > 5*time.Second {
				t.Error("the click was slow to act")
			}
			break
		}
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{decide: askPerson})
	b.ingest(firing("/a"))
	inc := b.awaiting()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if inc = b.reported(); inc.Outcome != incident.Denied || inc.Reason != "rejected by ada" || len(inc.Executions) > 0 {
		t.Errorf("outcome %s (%s), %d executions", inc.Outcome, inc.Reason, len(inc.Executions))
	}
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); !errors.Is(err, store.ErrAnswered) {
		t.Errorf("an answer after the end: %v", err)
	}
}

// A person may take longer than evidence lasts: then it is measured again, and
// only what is still confirmed is executed.
func TestApprovedAfterTheEvidence(t *testing.T) {
	t.Parallel()
	other := func(tg incident.Target) incident.Diagnosis {
		d := throttled(tg)
		d.Findings[0].Cause = incident.CPUSaturated
		return d
	}
	clean := func(tg incident.Target) incident.Diagnosis {
		return incident.Diagnosis{Target: tg, Verdict: incident.Clean, Findings: []incident.Finding{{Verdict: incident.Clean, Message: "the kernel is clean"}}}
	}
	for _, tt := range []struct {
		name   string
		then   func(incident.Target) incident.Diagnosis
		want   incident.Outcome
		reason string
	}{
		{"still so", throttled, incident.Fixed, "1% after"},
		{"another cause", other, incident.Denied, "measured again after the approval: runbook raise-cpu-limit must not act"},
		{"clean", clean, incident.OutcomeClean, "the kernel is clean, measured again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var measured atomic.Int32
			d := &stages{decide: askPerson, diagnose: func(_ context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
				if measured.Add(1) == 1 {
					old := throttled(tg)
					old.Window.Start = old.Window.Start.Add(-time.Hour)
					return old, nil
				}
				d := tt.then(tg)
				d.Findings[0].Message += ", measured again"
				return d, nil
			}}
			b := start(t, d)
			b.ingest(firing("/a"))
			inc := b.awaiting()
			if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
				t.Fatal(err)
			}
			inc = b.reported()
			checkTimeline(t, inc)
			if inc.Outcome != tt.want || !strings.Contains(inc.Reason, tt.reason) {
				t.Errorf("outcome %s (%s), want %s (%s)", inc.Outcome, inc.Reason, tt.want, tt.reason)
			}
			if acted := len(inc.Executions) > 0; acted != (tt.want == incident.Fixed) {
				t.Errorf("acted %v", acted)
			}
		})
	}
}

// A yes to what the guards deny by now is refused to the person's face, and the
// incident goes on waiting.
func TestApprovalAsksTheGuardsAgain(t *testing.T) {
	t.Parallel()
	for _, denies := range []incident.Decision{{Effect: incident.Deny, Reason: "a freeze has begun"}, {Effect: incident.RequireApproval, DryRun: true, Reason: "a freeze has begun"}} {
		var asked atomic.Int32
		b := start(t, &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
			if asked.Add(1) == 2 {
				return denies
			}
			return askPerson(inc, p)
		}})
		b.ingest(firing("/a"))
		inc := b.awaiting()
		yes := incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}
		err := b.Approve(t.Context(), yes)
		if !errors.Is(err, store.ErrNotAllowed) || !store.Refused(err) || !strings.Contains(err.Error(), "a freeze has begun") {
			t.Fatalf("Approve of what is denied: %v", err)
		}
		if inc = b.only(); inc.Phase != incident.AwaitingApproval || inc.Approval != nil {
			t.Fatalf("phase %s, approval %+v", inc.Phase, inc.Approval)
		}
		if err := b.Approve(t.Context(), yes); err != nil {
			t.Fatal(err)
		}
		if inc = b.reported(); inc.Outcome != incident.Fixed {
			t.Errorf("outcome %s (%s)", inc.Outcome, inc.Reason)
		}
	}
}

// The age of the evidence is no reason to refuse an answer, whoever finds it too
// old: kmend measures again.
func TestGuardThatWantsYoungerEvidence(t *testing.T) {
	t.Parallel()
	var measured atomic.Int32
	b := start(t, &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		if len(inc.Decisions) > 0 && time.Since(measuredAt(*inc.Diagnosis)) > time.Minute {
			return incident.Decision{Effect: incident.Deny, Reason: "too old"}
		}
		return askPerson(inc, p)
	}, diagnose: func(_ context.Context, tg incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		d := throttled(tg)
		if measured.Add(1) == 1 {
			d.Window.Start = d.Window.Start.Add(-2 * time.Minute)
		}
		return d, nil
	}})
	b.ingest(firing("/a"))
	inc := b.awaiting()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if inc = b.reported(); inc.Outcome != incident.Fixed {
		t.Errorf("outcome %s (%s)", inc.Outcome, inc.Reason)
	}
	if got := decisions(inc); !slices.Contains(got, "asked again after the approval: deny: too old") {
		t.Errorf("why it was measured again is not on the timeline: %q", got)
	}
}

// What cannot be undone needs a person even where the guards allow it.
func TestIrreversibleAsksAPerson(t *testing.T) {
	t.Parallel()
	d := &stages{plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
		p := twoSteps(inc)
		p.Steps[1].Irreversible = true
		return p, true, "", nil
	}}
	asksAPerson(t, d, "a step of the plan cannot be undone; it is a test")
}

// What is not measured is allowed by a person alone, and ends as what it is.
func TestUnmeasuredAsksAPerson(t *testing.T) {
	t.Parallel()
	d := &stages{plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
		p := twoSteps(inc)
		p.Verify = incident.Verify{Unmeasured: "the pod is gone"}
		return p, true, "", nil
	}}
	b, inc := asksAPerson(t, d, "the effect of the plan is not measured; it is a test")
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	inc = b.reported()
	checkTimeline(t, inc)
	if inc.Outcome != incident.Applied || inc.Phase != incident.Escalated || inc.Reason != "2 of 2 steps applied; the effect is not measured: the pod is gone" {
		t.Errorf("%s %s: %s", inc.Phase, inc.Outcome, inc.Reason)
	}
	if asked := d.notes(); slices.Contains(asked, "verify") || len(inc.Executions) != 2 {
		t.Errorf("%d executions, asked %q", len(inc.Executions), asked)
	}
}

// asksAPerson has the guards allow the plan of d, which waits for a person all the
// same and says why.
func asksAPerson(t *testing.T, d *stages, why string) (bench, incident.Incident) {
	t.Helper()
	b := start(t, d)
	b.ingest(firing("/a"))
	inc := b.awaiting()
	if got := inc.Decisions[0]; got.Effect != incident.RequireApproval || got.Reason != why {
		t.Errorf("decision %+v, want the reason %q", got, why)
	}
	for _, n := range d.notes() {
		if strings.HasPrefix(n, "apply") {
			t.Errorf("%s without an approval", n)
		}
	}
	return b, inc
}

// The flow has seen that the time is over, and before it writes that down the
// answer is committed: the answer counts.
func TestAnswerBeforeGivingUp(t *testing.T) {
	t.Parallel()
	b := start(t, &stages{decide: askPerson})
	b.ingest(firing("/a"))
	inc := b.awaiting()
	seen, err := b.store.Progress(t.Context(), inc.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}, 1); err != nil {
		t.Fatal(err)
	}
	if e, err := b.giveUp(t.Context(), seen); err != nil || e.over() {
		t.Errorf("giveUp after an answer = %+v, %v", e, err)
	}
}

// An answer and the end of its time that come in the same moment: either the
// answer is refused, or it is executed. Never acknowledged and dropped.
func TestAnswerAtTheLastMoment(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const n = 24
	b := startOn(t, s, &stages{decide: askPerson}, func(o *Options) {
		o.ApprovalExpiry = 500 * time.Millisecond
		o.MaxDiagnoses, o.MaxDiagnosesPerNode = n, n
	})
	for i := range n {
		b.ingest(firing("/" + strings.Repeat("x", i+1)))
	}
	var wg sync.WaitGroup
	var taken atomic.Int64
	open, err := s.List(t.Context(), store.Filter{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(open))
	for i, inc := range open {
		ids[i] = inc.ID
	}
	acknowledged := sync.Map{}
	for i, id := range ids {
		wg.Go(func() {
			for {
				p, err := s.Progress(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				if p.AnswerBy.IsZero() {
					time.Sleep(time.Millisecond)
					continue
				}
				time.Sleep(time.Until(p.AnswerBy) - time.Duration(i)*time.Millisecond)
				err = b.Approve(t.Context(), incident.Approval{Incident: id, Plan: p.Plan.Digest(), Approve: true, By: "ada", Name: "ada"})
				if err == nil {
					taken.Add(1)
					acknowledged.Store(id, true)
				}
				return
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		for inc := (incident.Incident{}); !hasKind(inc, "notified"); time.Sleep(2 * time.Millisecond) {
			if inc, err = s.Get(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			_, yes := acknowledged.Load(id)
			if inc.Phase.Closed() && yes != (inc.Outcome == incident.Fixed) {
				t.Fatalf("incident %s: acknowledged %v, outcome %s", id, yes, inc.Outcome)
			}
		}
	}
	t.Logf("%d of %d answers were in time", taken.Load(), n)
}
