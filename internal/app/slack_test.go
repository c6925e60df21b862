package app

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// The whole way: asked, looked at, refused to whom it must, approved, done. Only
// who clicked is told why a click did nothing.
func TestSlackApproves(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.click(m, "details", "U9")
	b.told(1, "U9", "e1 threads throttled 1299 ms")
	b.click(m, "approve", "U9")
	b.told(2, "U9", "you are not one of those who may")
	b.acted(0)
	b.click(m, "approve", "U1")
	b.ends("Fixed:", "Approved by u1 (Slack U1) at", "Step 1 applied: 0.3 CPU → 0.6 CPU", "throttled 43% before, 1% after")
	b.acted(1)
	b.click(m, "approve", "U1") // on the message as it was
	b.told(3, "U1", "u1 (Slack U1) has answered already")
	b.click(m, "deny", "U2")
	b.told(4, "U2", "has answered already")
	b.acted(1)
}

func TestSlackDenies(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(2, "U1"), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.click(m, "deny", "U2") // of the group
	b.ends("Denied:", "Denied by u2 (Slack U2) at", "Not executed: the plan was not allowed.", "rejected by u2 (Slack U2)")
	b.acted(0)
}

// Two persons, and one person does not count twice, neither with two clicks nor
// with a click and a token.
func TestSlackTwoPersons(t *testing.T) {
	t.Parallel()
	h := users(2, "U1")
	h.approvers.Names = []string{tester}
	b := newBed(t, h, time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.click(m, "approve", "U7")
	b.says("1 of 2 persons said yes")
	b.click(m, "approve", "U7")
	b.told(1, "U7", "another person has to, too")
	var inc incident.Incident
	b.until("the incident", func() bool {
		list, err := b.db.List(t.Context(), store.Filter{})
		if err == nil && len(list) == 1 {
			inc = list[0]
		}
		return inc.ID != ""
	})
	err := b.flow.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: tester, Name: tester})
	if err == nil || !strings.Contains(err.Error(), store.ErrSamePerson.Error()) {
		t.Errorf("the same person by token: %v", err)
	}
	b.acted(0)
	b.click(b.slack.Messages()[0], "approve", "U2")
	b.ends("Fixed:", "Approved by ada at", "Approved by u2 (Slack U2) at")
	b.acted(1)
}

// An alert that resolves and fires again asks again in the same message; what the
// message showed before is for nothing any more.
func TestSlackFiresAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), time.Minute)
	b.notifyOf(incident.Firing, 12)
	before := b.asked()
	b.notifyOf(incident.Resolved, 12)
	b.ends("Superseded:")
	b.notifyOf(incident.Firing, 13)
	b.says("*Fired* 2 times")
	m := b.asked()
	b.click(before, "approve", "U1")
	b.told(1, "U1", "the incident is over (superseded)")
	b.acted(0)
	b.click(m, "approve", "U1")
	b.ends("Fixed:", "Approved by u1 (Slack U1) at")
	b.acted(1)
}

// Nobody answers; who clicks afterwards is told so.
func TestSlackExpires(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), 700*time.Millisecond)
	b.notify(incident.Firing)
	m := b.asked()
	b.ends("Expired:", "Not executed: the time was over.", "nobody answered until")
	b.click(m, "approve", "U1")
	b.told(1, "U1", "the incident is over (expired): nobody answered until")
	b.acted(0)
}

// The alert resolves while a person is asked, half of the persons having said yes.
func TestSlackResolved(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(2, "U1"), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.click(m, "approve", "U1")
	b.says("1 of 2 persons said yes")
	b.notify(incident.Resolved)
	b.ends("Superseded:", "Not executed: the alert resolved before kmend acted.")
	b.click(m, "approve", "U2")
	b.told(1, "U2", "the incident is over (superseded)")
	b.acted(0)
}

// kmend restarts while it waits: the message is the same one, and so is the first yes.
func TestSlackRestart(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(2, "U1"), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.click(m, "approve", "U1")
	b.says("1 of 2 persons said yes")
	b.stop()
	b.start(time.Minute)
	b.click(m, "approve", "U1")
	b.told(1, "U1", "another person has to, too")
	b.click(m, "approve", "U2")
	b.ends("Fixed:", "Approved by u1 (Slack U1)", "Approved by u2 (Slack U2)")
	b.acted(1)
}

// What was true when the plan was shown is asked again at the click: the target,
// whose status may have moved, and the guards. Then the incident goes on waiting.
func TestSlackAsksAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.set(func(h *doubles) { h.uid = "u2" })
	b.click(m, "approve", "U1")
	b.told(1, "U1", "the target has changed since the plan was shown: step 1: uid was u1 and is u2")
	b.set(func(h *doubles) { h.uid, h.freeze = "u1", "a <freeze> & more" })
	b.click(m, "approve", "U1")
	b.told(2, "U1", "a &lt;freeze&gt; &amp; more")
	b.acted(0)
	b.set(func(h *doubles) { h.freeze = "" })
	b.click(m, "approve", "U1")
	b.ends("Fixed:")
	b.acted(1)
}

// Slack does not say who is in the group: nobody of it may answer, and it is said.
func TestSlackGroupUnknown(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1), time.Minute)
	b.notify(incident.Firing)
	m := b.asked()
	b.slack.Break(func(method string) (int, string) {
		if method == "usergroups.users.list" {
			return 500, "trouble"
		}
		return 0, ""
	})
	b.click(m, "approve", "U2")
	b.told(1, "U2", "you are not one of those who may")
	b.slack.Break(nil)
	b.click(m, "approve", "U2")
	b.ends("Fixed:")
}

// Slack is away for the whole time: the flow does not wait for it, and then it is told.
func TestSlackAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, users(1, "U1"), 300*time.Millisecond)
	b.slack.Break(func(string) (int, string) { return 503, "away" })
	b.notify(incident.Firing)
	b.until("the end", func() bool {
		list, err := b.db.List(t.Context(), store.Filter{})
		return err == nil && len(list) == 1 && list[0].Phase.Closed()
	})
	if len(b.slack.Messages()) > 0 {
		t.Fatal("a message while Slack is away")
	}
	b.slack.Break(nil)
	b.ends("Expired:")
}
