package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// Alerts that fire again soon after the end extend their incident; those that
// fire again later open another.
func TestFlapping(t *testing.T) { testFlapping(t, openTest) }

func testFlapping(t *testing.T, empty opener) {
	s := empty(t)
	at := func(n int, status incident.AlertStatus, within time.Duration) Seed {
		about := seed(alert("1", status, noon.Add(time.Duration(n)*time.Minute)))
		about.ExtendWithin = within
		return about
	}
	first := ingest(t, s, at(0, incident.Firing, time.Hour))
	ingest(t, s, at(0, incident.Resolved, time.Hour)) // superseded
	if err := s.KeepMessage(t.Context(), Message{Incident: first.ID, Channel: "C", TS: "1", Final: true}); err != nil {
		t.Fatal(err)
	}
	const flaps = 24
	var last Ingested
	for n := 1; n <= flaps; n++ {
		last = ingest(t, s, at(n, incident.Firing, time.Hour))
		if want := fmt.Sprintf("%s.%d", first.ID, n+1); !last.New || !last.Extends || last.ID != want {
			t.Fatalf("flap %d: %+v, want a new episode %s", n, last, want)
		}
		if again := ingest(t, s, at(n, incident.Firing, time.Hour)); again.New || again.ID != last.ID {
			t.Fatalf("flap %d delivered twice: %+v", n, again)
		}
		if n < flaps {
			ingest(t, s, at(n, incident.Resolved, time.Hour))
		}
	}
	list, err := s.List(t.Context(), Filter{})
	if err != nil || len(list) != 1 || list[0].ID != last.ID {
		t.Fatalf("list has %d incidents, %v; want the last episode only", len(list), err)
	}
	inc := list[0]
	if inc.Root() != first.ID || inc.Episode != flaps+1 || len(inc.Episodes) != maxEpisodes || inc.Episodes[maxEpisodes-1].ID != last.ID ||
		inc.Episodes[0].Outcome != incident.Superseded || inc.Episodes[maxEpisodes-1].Outcome != "" {
		t.Errorf("the last episode is %s, number %d, of %+v", inc.Root(), inc.Episode, inc.Episodes)
	}
	if m := inc.Timeline[0].Message; !strings.Contains(m, "superseded (25 times now)") {
		t.Errorf("the timeline begins with %q", m)
	}
	for _, of := range []string{first.ID, inc.Episodes[3].ID, last.ID} {
		if newest, err := s.Latest(t.Context(), of); err != nil || newest.ID != last.ID {
			t.Errorf("Latest(%s) = %s, %v", of, newest.ID, err)
		}
	}
	if _, err := s.Latest(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Latest of none: %v", err)
	}
	// Its one message has to change, whatever it said.
	if ids, err := s.Untold(t.Context(), time.Now()); err != nil || !slices.Equal(ids, []string{first.ID}) {
		t.Errorf("Untold = %v, %v", ids, err)
	}
	ingest(t, s, at(flaps, incident.Resolved, time.Hour))
	if other := ingest(t, s, at(flaps+1, incident.Firing, 0)); !other.New || other.Extends {
		t.Errorf("long after the end: %+v, want another incident", other)
	}
	if list, err := s.List(t.Context(), Filter{}); err != nil || len(list) != 2 {
		t.Errorf("list has %d incidents, %v", len(list), err)
	}
}

// One replica posts the message of an incident, and another one where that has ended.
func TestReserveMessage(t *testing.T) { testReserveMessage(t, openTest) }

func testReserveMessage(t *testing.T, empty opener) {
	s := empty(t)
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	ask := func(replica string) bool {
		t.Helper()
		s.lease.set(replica, "")
		mine, err := s.ReserveMessage(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	if s.Shared() && ask("") {
		t.Error("one that did not join may post")
	}
	if !ask("a") || ask("b") || !ask("a") {
		t.Error("want a to post, not b, and a again after a restart")
	}
	exec := func(statement string) {
		t.Helper()
		if err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error { _, err := c.ExecContext(ctx, statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	exec(fmt.Sprintf(`UPDATE slack_messages SET held_at = held_at - %d`, reservedFor.Nanoseconds()))
	if !ask("b") || ask("a") {
		t.Error("want b to post, a did not for long")
	}
	if ids, err := s.Untold(t.Context(), time.Now()); err != nil || !slices.Equal(ids, []string{id}) {
		t.Errorf("Untold = %v, %v; what is reserved is not posted", ids, err)
	}
	if err := s.KeepMessage(t.Context(), Message{Incident: id, Channel: "C", TS: "1"}); err != nil {
		t.Fatal(err)
	}
	exec(`UPDATE slack_messages SET held_at = 0`)
	if ask("a") || ask("b") {
		t.Error("it is posted and may be posted again")
	}
	s.lease.set("", "")
}

// Whatever the clocks say, the episode after the last one is the next.
func TestEpisodesDoNotGoByTheClock(t *testing.T) { testEpisodesDoNotGoByTheClock(t, openTest) }

func testEpisodesDoNotGoByTheClock(t *testing.T, empty opener) {
	s := empty(t)
	var first string
	for n := range 4 {
		about := seed(alert("1", incident.Firing, noon.Add(time.Duration(n)*time.Minute)))
		about.ExtendWithin = 3 * time.Hour
		got := ingest(t, s, about)
		if n == 0 {
			first = got.ID
			alter(t, s, `UPDATE incidents SET received_at = received_at + ?`, time.Hour.Nanoseconds()) // of a replica whose clock is ahead
		} else if want := fmt.Sprintf("%s.%d", first, n+1); got.ID != want {
			t.Fatalf("%+v, want %s", got, want)
		}
		record(t, s, got.ID, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	}
}

func alter(t *testing.T, s *Store, statement string, args ...any) {
	t.Helper()
	err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What begins to fire while an incident acts is the next episode of it at its end.
func TestFiresWhileActing(t *testing.T) { testFiresWhileActing(t, openTest) }

func testFiresWhileActing(t *testing.T, empty opener) {
	s := empty(t)
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	for i, to := range []incident.Phase{incident.Diagnosing, incident.Planned, incident.Executing} {
		record(t, s, id, fmt.Sprint("to", i), Change{To: to})
	}
	for range 2 {
		if got := ingest(t, s, seed(alert("1", incident.Firing, noon.Add(time.Minute)), alert("2", incident.Firing, noon))); got.New || got.ID != id {
			t.Fatalf("while it acts: %+v", got)
		}
	}
	record(t, s, id, "verifying", Change{To: incident.Verifying})
	record(t, s, id, "end", Change{To: incident.ResolvedPhase, Outcome: incident.Fixed})
	open, err := openIDs(t.Context(), s)
	if err != nil || !slices.Equal(open, []string{id + ".2"}) {
		t.Fatalf("open: %v, %v; want the next episode", open, err)
	}
	next := get(t, s, open[0])
	if len(next.Alerts) != 2 || next.Target.Cgroup != "/a" || next.Phase != incident.Received {
		t.Errorf("the next episode: %+v", next.Incident)
	}
	record(t, s, next.ID, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	if got := ingest(t, s, seed(alert("1", incident.Firing, noon.Add(time.Minute)), alert("2", incident.Firing, noon))); got.New || got.ID != next.ID {
		t.Errorf("delivered once more: %+v", got)
	}
	if open, err := openIDs(t.Context(), s); err != nil || len(open) > 0 {
		t.Errorf("open: %v, %v", open, err)
	}
}

// An alert that resolved and fires again with the time at which it began before is
// no late delivery, when that is a while ago.
func TestFiresAgainSinceThen(t *testing.T) { testFiresAgainSinceThen(t, openTest) }

func testFiresAgainSinceThen(t *testing.T, empty opener) {
	s := empty(t)
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	ingest(t, s, seed(alert("1", incident.Resolved, noon)))
	if got := ingest(t, s, seed(alert("1", incident.Firing, noon))); got.New || got.ID != id {
		t.Fatalf("a late delivery: %+v", got)
	}
	alter(t, s, `UPDATE incidents SET closed_at = closed_at - ?`, retriedFor.Nanoseconds())
	again := ingest(t, s, seed(alert("1", incident.Firing, noon)))
	if !again.New {
		t.Fatalf("a while later: %+v, want it opened", again)
	}
	record(t, s, again.ID, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	if got := ingest(t, s, seed(alert("1", incident.Firing, noon))); got.New || got.ID != again.ID {
		t.Errorf("delivered once more: %+v", got)
	}
}

// The time counts from when the alert resolved, where that was after the end.
func TestFlappingCountsFromResolved(t *testing.T) {
	s := openTest(t)
	about := func(n int, status incident.AlertStatus) Seed {
		about := seed(alert("1", status, noon.Add(time.Duration(n)*time.Minute)))
		about.ExtendWithin = time.Minute
		return about
	}
	id := ingest(t, s, about(0, incident.Firing)).ID
	record(t, s, id, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	long := time.Hour.Nanoseconds()
	err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE timeline SET at = at - ?`, long)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ingest(t, s, about(0, incident.Resolved))
	if again := ingest(t, s, about(1, incident.Firing)); !again.Extends {
		t.Errorf("%+v; want it extended: it resolved just now", again)
	}
}

// What comes at about the same time and shares a node or a cause is correlated.
func TestCorrelation(t *testing.T) { testCorrelation(t, openTest) }

func testCorrelation(t *testing.T, empty opener) {
	s := empty(t)
	open := func(name, cluster, node string, cause incident.Cause, within time.Duration) string {
		t.Helper()
		target := incident.Target{Cgroup: "/" + name, Cluster: cluster}
		id := ingest(t, s, Seed{DedupKey: name, Target: target, Alerts: []incident.Alert{alert(name, incident.Firing, noon)}}).ID
		d := incident.Diagnosis{Target: incident.Target{Cgroup: "/" + name}, Node: incident.Node{Name: node}, Verdict: incident.Clean}
		if cause != "" {
			d.Verdict = incident.Confirmed
			d.Findings = []incident.Finding{{Cause: cause, Verdict: incident.Confirmed}}
		}
		record(t, s, id, "diagnosing", Change{To: incident.Diagnosing})
		record(t, s, id, "diagnosed", Change{Diagnosis: &d, CorrelateWithin: within})
		return id
	}
	const soon = time.Minute
	a := open("a", "c1", "n1", incident.CPUThrottled, soon)
	b := open("b", "c1", "n1", "", soon)                    // its node is a's
	c := open("c", "c1", "n2", incident.CPUThrottled, soon) // its cause is a's
	d := open("d", "c1", "n2", incident.DiskLatency, soon)  // its node is c's, which is a part itself
	e := open("e", "c1", "n2", incident.CPUThrottled, soon) // d's node, a's cause: the node counts more
	f := open("f", "c2", "n1", incident.CPUThrottled, soon) // another cluster
	g := open("g", "c1", "", "", soon)                      // shares nothing known
	h := open("h", "c1", "n1", incident.CPUThrottled, 0)    // not asked for
	i := open("i", "c1", "n1", incident.CPUThrottled, 1)    // too long after the others
	record(t, s, b, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	for _, want := range []struct {
		id     string
		parent *incident.Parent
	}{
		{a, nil}, {b, &incident.Parent{Incident: a, Shares: "node", What: "n1", Number: 1}},
		{c, &incident.Parent{Incident: a, Shares: "cause", What: "cpu.throttled", Number: 2}},
		{d, nil}, {e, &incident.Parent{Incident: d, Shares: "node", What: "n2", Number: 1}},
		{f, nil}, {g, nil}, {h, nil}, {i, nil},
	} {
		p := get(t, s, want.id)
		if (p.Parent == nil) != (want.parent == nil) || p.Parent != nil && *p.Parent != *want.parent {
			t.Errorf("%s is part of %+v, want %+v", p.Target, p.Parent, want.parent)
		}
		if said := p.Keys["correlated"].Message; p.Parent != nil && said != fmt.Sprintf("part of incident %s, with which it shares the %s %s", p.Parent.Incident, p.Parent.Shares, p.Parent.What) {
			t.Errorf("%s: the timeline says %q", p.Target, said)
		}
	}
	// A part that flaps is one part.
	again := seed(alert("b", incident.Firing, noon.Add(time.Minute)))
	again.DedupKey, again.Target, again.ExtendWithin = "b", incident.Target{Cgroup: "/b", Cluster: "c1"}, time.Hour
	b2 := ingest(t, s, again).ID
	record(t, s, b2, "diagnosing", Change{To: incident.Diagnosing})
	record(t, s, b2, "diagnosed", Change{Diagnosis: &incident.Diagnosis{Node: incident.Node{Name: "n1"}, Verdict: incident.Clean}, CorrelateWithin: soon})
	if p := get(t, s, b2).Parent; p == nil || p.Incident != a || p.Number != 1 {
		t.Errorf("the second episode is part %+v", p)
	}
	record(t, s, b2, "end", Change{To: incident.Escalated, Outcome: incident.OutcomeClean})
	b = b2
	parts := get(t, s, a).Parts
	if parts == nil || parts.Count != 2 || parts.Open != 1 || parts.Outcomes[incident.OutcomeClean] != 1 || !slices.Equal(parts.IDs, []string{b, c}) {
		t.Errorf("parts of the first: %+v", parts)
	}
	if parts := get(t, s, g).Parts; parts != nil {
		t.Errorf("parts of what shares nothing: %+v", parts)
	}
}
