package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// Two persons have to say yes: one person does not count twice, under whichever
// of the two names, and a no of one ends it.
func TestApproveByTwo(t *testing.T) {
	s := openTest(t)
	plan := examplePlan()
	waiting := func(key string) string {
		id := ingest(t, s, Seed{DedupKey: key, Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
		record(t, s, id, "d", Change{To: incident.Diagnosing})
		record(t, s, id, "p", Change{To: incident.Planned, Plan: &plan})
		record(t, s, id, "a", Change{To: incident.AwaitingApproval, AnswerBy: time.Now().Add(time.Hour)})
		return id
	}
	ada := incident.Approval{Plan: plan.Digest(), Approve: true, By: "ada", Name: "ada", SlackUser: "U1"}
	for _, tt := range []struct {
		name    string
		second  incident.Approval
		want    error
		decided string // by whom, "" while it waits
		last    string // line of the timeline
	}{
		{"another", incident.Approval{Approve: true, By: "bob (Slack U2)", SlackUser: "U2"}, nil, "bob (Slack U2)", "approved by bob (Slack U2), 2 of 2 persons"},
		{"the token once more", incident.Approval{Approve: true, By: "ada", Name: "ada"}, ErrSamePerson, "", "approved by ada, 1 of 2 persons"},
		{"the same in Slack", incident.Approval{Approve: true, By: "ada (Slack U1)", SlackUser: "U1"}, ErrSamePerson, "", "approved by ada, 1 of 2 persons"},
		{"another says no", incident.Approval{By: "bob", Name: "bob"}, nil, "bob", "rejected by bob"},
		{"the same says no", incident.Approval{By: "ada", Name: "ada"}, nil, "ada", "rejected by ada"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := waiting(tt.name)
			first, second := ada, tt.second
			first.Incident, second.Incident, second.Plan = id, id, plan.Digest()
			if err := s.Approve(t.Context(), first, 2); err != nil {
				t.Fatal(err)
			}
			p := get(t, s, id)
			if p.Approval != nil || len(p.Approvals) != 1 || p.Approvals[0].SlackUser != "U1" {
				t.Fatalf("after one yes: %+v, %+v", p.Approval, p.Approvals)
			}
			if err := s.Approve(t.Context(), second, 2); !errors.Is(err, tt.want) {
				t.Fatalf("second answer: %v, want %v", err, tt.want)
			}
			p = get(t, s, id)
			by := ""
			if p.Approval != nil {
				by = p.Approval.By
			}
			if last := p.Timeline[len(p.Timeline)-1].Message; by != tt.decided || last != tt.last {
				t.Errorf("decided by %q, timeline ends with %q", by, last)
			}
			third := incident.Approval{Incident: id, Plan: plan.Digest(), Approve: true, By: "eve", Name: "eve"}
			if err := s.Approve(t.Context(), third, 2); tt.decided != "" && (!errors.Is(err, ErrAnswered) || !strings.Contains(err.Error(), tt.decided)) {
				t.Errorf("an answer after the end: %v", err)
			}
		})
	}
}

// What the caller did not see waiting takes no answer, whatever it is by now.
func TestApproveUnseen(t *testing.T) {
	s := openTest(t)
	plan := examplePlan()
	id := ingest(t, s, Seed{DedupKey: "1", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	record(t, s, id, "d", Change{To: incident.Diagnosing})
	record(t, s, id, "p", Change{To: incident.Planned, Plan: &plan})
	record(t, s, id, "a", Change{To: incident.AwaitingApproval, AnswerBy: time.Now().Add(time.Hour)})
	a := incident.Approval{Incident: id, Plan: plan.Digest(), Approve: true, By: "ada", Name: "ada"}
	if err := s.Approve(t.Context(), a, 0); !errors.Is(err, ErrNotAwaiting) {
		t.Errorf("Approve = %v", err)
	}
}

func TestMessages(t *testing.T) { testMessages(t, openTest) }

func testMessages(t *testing.T, empty opener) {
	s := empty(t)
	open := ingest(t, s, Seed{DedupKey: "1", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	told := ingest(t, s, Seed{DedupKey: "2", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	closed := ingest(t, s, Seed{DedupKey: "3", Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
	for _, id := range []string{told, closed} {
		record(t, s, id, KeyClosed, Change{To: incident.Escalated, Outcome: incident.NoTarget, Reason: "r"})
	}
	if m, err := s.Message(t.Context(), open); err != nil || m != (Message{}) {
		t.Errorf("a message before there is one: %+v, %v", m, err)
	}
	for _, m := range []Message{{Incident: open, Channel: "C1"}, {Incident: open, Channel: "C1", TS: "1.2", Shown: "d1", Notified: "x asks"}, {Incident: told, Channel: "C1", TS: "1.3", Shown: "d2", Final: true}} {
		if err := s.KeepMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Message(t.Context(), m.Incident); err != nil || got != m {
			t.Errorf("kept %+v, read %+v, %v", m, got, err)
		}
	}
	for since, want := range map[time.Time]string{time.Now().Add(-time.Hour): open + " " + closed, time.Now().Add(time.Hour): open} {
		ids, err := s.Untold(t.Context(), since)
		if err != nil || strings.Join(ids, " ") != want {
			t.Errorf("Untold since %s: %v, %v; want %s", since, ids, err, want)
		}
	}
	// Of two that write a thread at once one does, and an edit of the message takes nothing back.
	for _, c := range []struct {
		from, to string
		mine     bool
	}{{"", open + " 1 0", true}, {"", open + " 1 0", false}, {open + " 1 0", open + " 2 0", true}} {
		if mine, err := s.TellThread(t.Context(), open, c.from, c.to); err != nil || mine != c.mine {
			t.Errorf("from %q to %q: %v, %v", c.from, c.to, mine, err)
		}
		if err := s.KeepMessage(t.Context(), Message{Incident: open, Channel: "C1", TS: "1.2", Told: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := s.Message(t.Context(), open); err != nil || m.Told != open+" 2 0" {
		t.Errorf("the thread has %q, %v", m.Told, err)
	}
}
