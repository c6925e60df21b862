package slack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/slack"
)

// The episodes of an incident are one message.
func TestFiresAgain(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	first := waitingIncident()
	first.Phase, first.Outcome, first.ClosedAt = incident.ResolvedPhase, incident.Superseded, noon.Add(time.Minute)
	sh.put(first)
	p.Changed(first.ID, true)
	until(t, "a message", func() bool { return len(s.Messages()) == 1 && sh.kept(first.ID).Final })
	again := incident.Incident{ID: first.ID + ".2", First: first.ID, Episode: 2, Phase: incident.Diagnosing, Target: first.Target, Alerts: first.Alerts,
		Episodes: []incident.Episode{{ID: first.ID, ReceivedAt: noon, ClosedAt: first.ClosedAt, Outcome: first.Outcome}, {ID: first.ID + ".2", ReceivedAt: noon.Add(2 * time.Minute)}}}
	sh.put(again)
	p.Changed(again.ID, false)
	says := func() string { return standin.Says(s.Messages()[0].Blocks) }
	until(t, "it says so", func() bool {
		return strings.Contains(says(), "Firing again: pod shop/web-1/app") && strings.Contains(says(), "*Fired* 2 times, before at 2026-11-21 12:00:00 UTC until 2026-11-21 12:01:00 UTC: `superseded`") &&
			!sh.kept(first.ID).Final
	})
	asks := waitingIncident()
	asks.ID, asks.First, asks.Episode, asks.Episodes = again.ID, again.First, 2, again.Episodes
	sh.put(asks)
	p.Changed(asks.ID, true)
	until(t, "people hear of it, for nobody hears of an edit", func() bool { return len(s.Messages()[0].Replies) == 1 && sh.kept(first.ID).Notified != "" })
	if got := s.Messages()[0].Replies[0]; got != "Approval wanted: pod shop/web-1/app" {
		t.Errorf("they hear %q", got)
	}
	asks.Phase, asks.Outcome, asks.ClosedAt = incident.Escalated, incident.Failed, noon
	sh.put(asks)
	p.Changed(asks.ID, true)
	until(t, "and of the bad end", func() bool { return len(s.Messages()[0].Replies) == 2 && sh.kept(first.ID).Final })
	sh.put(again)
	p.Changed(again.ID, true)
	until(t, "the message as it was", func() bool { return strings.Contains(says(), "Firing again") })
	if n := len(s.Messages()[0].Replies); n != 2 {
		t.Errorf("%d replies", n)
	}
	p.Changed(first.ID, true) // what comes late of the one before changes nothing
	time.Sleep(50 * time.Millisecond)
	if n := len(s.Messages()); n != 1 || !strings.Contains(says(), "Firing again") {
		t.Errorf("%d messages, the first says %s", n, says())
	}
}

// In a storm, parts that ask nothing of a person are told of in their parent's message.
func TestStormIsQuiet(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	parent := waitingIncident()
	sh.put(parent)
	p.Changed(parent.ID, true)
	const parts = 20
	for n := range parts {
		part := waitingIncident()
		part.ID = fmt.Sprint("part-", n)
		part.Parent = &incident.Parent{Incident: parent.ID, Shares: incident.SharesNode, What: "n1", Number: n + 1}
		switch n {
		case 10: // asks
		case 11: // acted
			part.Phase, part.Outcome, part.ClosedAt = incident.Escalated, incident.Failed, noon
		default:
			part.Phase, part.Outcome, part.ClosedAt = incident.Escalated, incident.DryRun, noon
		}
		sh.put(part)
		p.Changed(part.ID, true)
	}
	parent.Parts = &incident.Parts{Count: parts, Open: 1, Outcomes: map[incident.Outcome]int{incident.DryRun: 18, incident.Failed: 1}}
	sh.put(parent)
	p.Changed("part-19", false)
	until(t, "the messages", func() bool {
		m := s.Messages()
		return len(m) == 1+incident.LoudParts+2 && strings.Contains(standin.Says(m[0].Blocks), "*Parts* 20 incidents with the same node or cause: 1 open, 18 dry_run, 1 failed")
	})
	time.Sleep(50 * time.Millisecond)
	for _, m := range s.Messages()[1:] {
		if says := standin.Says(m.Blocks); !strings.Contains(says, "*Part of* `"+parent.ID+"` with the same node `n1`") {
			t.Errorf("a part says %s", says)
		}
	}
	if n := len(s.Messages()); n != 1+incident.LoudParts+2 {
		t.Errorf("%d messages, want %d", n, 1+incident.LoudParts+2)
	}
}
