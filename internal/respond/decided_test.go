package respond

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// decisions are what the timeline says about the guards' answers.
func decisions(inc incident.Incident) (lines []string) {
	for _, e := range inc.Timeline {
		if e.Kind == "decided" {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

// Every answer of the guards is on the timeline, with its reason, whether it allows
// or not: for the plan, at each click and before each step. A click again with the
// same answer adds nothing, nor does that of somebody who may not answer.
func TestDecisionsAreOnTheTimeline(t *testing.T) {
	t.Parallel()
	var frozen atomic.Bool
	b := start(t, &stages{decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
		if frozen.Load() {
			return incident.Decision{Effect: incident.Deny, Policy: "prod", Rule: "freeze", Reason: "a freeze has begun"}
		}
		d := incident.Decision{Effect: incident.RequireApproval, Policy: "prod", Rule: "ask", Reason: "it is production"}
		d.Approval = &incident.Approvers{Names: []string{"ada"}}
		d.Answers = []incident.Answer{{Policy: "prod", Rule: "owner", Effect: incident.RequireApproval, Reason: "Argo CD owns it"}}
		return d
	}})
	b.ingest(firing("/a"))
	inc := b.awaiting()
	answer := func(by string) error {
		return b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: by, Name: by})
	}
	frozen.Store(true)
	for range 3 {
		if err := answer("ada"); !errors.Is(err, store.ErrNotAllowed) {
			t.Fatalf("a click during a freeze: %v", err)
		}
		if err := answer("eve"); !errors.Is(err, store.ErrNotApprover) {
			t.Fatalf("a click of somebody else: %v", err)
		}
	}
	frozen.Store(false)
	if err := answer("ada"); err != nil {
		t.Fatal(err)
	}
	inc = b.reported()
	checkTimeline(t, inc)
	const asks = "require_approval by policy prod/ask: it is production; require_approval by prod/owner: Argo CD owns it"
	want := []string{asks, "asked again at the answer of ada: deny by policy prod/freeze: a freeze has begun", "asked again at the answer of ada: " + asks,
		"asked again before step 1 of 2: " + asks, "asked again before step 2 of 2: " + asks}
	if got := decisions(inc); !slices.Equal(got, want) {
		t.Errorf("the timeline says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, e := range inc.Timeline {
		if next := inc.Timeline[min(i+1, len(inc.Timeline)-1)]; strings.HasPrefix(e.Message, "asked again before step") && next.Kind != "intent" {
			t.Errorf("%q comes before %q", e.Message, next.Kind)
		}
		if e.Kind == "decided" && e.Fields["policy"] != "prod" {
			t.Errorf("%q has fields %v", e.Message, e.Fields)
		}
	}
}

// While a plan waits for room the guards are asked each second: what they say then is
// the line about waiting, and the answer that lets it go on is the next.
func TestWaitingForRoomIsOneLine(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	b := start(t, &stages{decide: func(incident.Incident, incident.Plan) incident.Decision {
		d := incident.Decision{Effect: incident.Allow, Policy: "test", Reason: "it is a test"}
		if n := asked.Add(1); n > 1 && n < 4 {
			d.Wait = "it is full"
		}
		return d
	}})
	b.ingest(firing("/a"))
	inc := b.reported()
	want := []string{"allow by policy test: it is a test", "asked again before step 1 of 2: allow by policy test: it is a test",
		"asked again before step 2 of 2: allow by policy test: it is a test"}
	if got := decisions(inc); !slices.Equal(got, want) || !hasKind(inc, "waiting") {
		t.Errorf("waiting %v, %q, want %q", hasKind(inc, "waiting"), got, want)
	}
}
