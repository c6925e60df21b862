package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/slack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf holds incidents and what was posted about them.
type shelf struct {
	mu        sync.Mutex
	incs      map[string]incident.Incident
	posted    map[string]Posted
	broken    error // of KeepMessage
	elsewhere bool  // another replica posts
}

func newShelf() *shelf {
	return &shelf{incs: map[string]incident.Incident{}, posted: map[string]Posted{}}
}

func (s *shelf) put(inc incident.Incident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incs[inc.ID] = inc
}

func (s *shelf) Latest(_ context.Context, id string) (incident.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := s.incs[id]
	for _, inc := range s.incs {
		if inc.Root() == latest.Root() && inc.Episode > latest.Episode {
			latest = inc
		}
	}
	return latest, nil
}

func (s *shelf) Get(_ context.Context, id string) (incident.Incident, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.incs[id], nil
}

func (s *shelf) ReserveMessage(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.elsewhere, nil
}

func (s *shelf) Message(_ context.Context, id string) (Posted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posted[id], nil
}

func (s *shelf) KeepMessage(_ context.Context, p Posted) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		p.Told = s.posted[p.Incident].Told
		s.posted[p.Incident] = p
	}
	return s.broken
}

func (s *shelf) TellThread(_ context.Context, id, from, to string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.posted[id]
	if m.Told != from {
		return false, nil
	}
	m.Told = to
	s.posted[id] = m
	return true, nil
}

func token(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func client(t *testing.T, s *standin.Server, bot string) *Client {
	t.Helper()
	c, err := NewClient(token(t, bot), s.APIURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// posting runs a Poster until the test ends, or until stop.
func posting(t *testing.T, s *standin.Server, sh *shelf, change func(*Options)) (p *Poster, stop func()) {
	t.Helper()
	o := DefaultOptions()
	o.Client, o.Incidents, o.Ledger, o.Buttons = client(t, s, standin.BotToken), sh, sh, true
	o.Route = func(incident.Incident) Route { return Route{Channel: "#kmend"} }
	o.Logger, o.Metrics = slog.New(slog.NewTextHandler(t.Output(), nil)), NewMetrics(prometheus.NewRegistry())
	o.Interval, o.Retry = 0, 20*time.Millisecond
	if change != nil {
		change(&o)
	}
	p, err := NewPoster(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return p, stop
}

func slackServer(t *testing.T, o standin.Options) *standin.Server {
	t.Helper()
	s := standin.Start(o)
	t.Cleanup(func() {
		s.Close()
		for _, p := range s.Problems() {
			t.Error(p)
		}
	})
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// A change is an edit of the one message, also after a restart, and what has not
// changed is none.
func TestPostsAndEdits(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, stop := posting(t, s, sh, nil)
	inc := waitingIncident()
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a message", func() bool { return len(s.Messages()) == 1 })
	until(t, "it is kept", func() bool { return sh.kept(inc.ID).TS != "" })
	p.Changed(inc.ID, true)
	time.Sleep(100 * time.Millisecond)
	if n := s.Calls("chat.update"); n > 0 {
		t.Errorf("%d edits of what has not changed", n)
	}
	inc.Approvals = []incident.Approval{{Approve: true, By: "ada", Name: "ada", Plan: inc.Plan.Digest(), At: noon}}
	before := sh.kept(inc.ID).Shown
	sh.put(inc)
	p.Changed(inc.ID, true)
	says := func() string { return standin.Says(s.Messages()[0].Blocks) }
	until(t, "the first yes", func() bool {
		return strings.Contains(says(), "1 of 2 persons said yes") && sh.kept(inc.ID).Shown != before
	})
	stop()

	q, _ := posting(t, s, sh, nil)
	q.Changed(inc.ID, false)
	inc.Phase, inc.Outcome, inc.Reason, inc.ClosedAt = incident.Escalated, incident.Expired, "nobody answered", noon
	sh.put(inc)
	q.Changed(inc.ID, true)
	until(t, "the end", func() bool { return strings.Contains(says(), "Expired") && sh.kept(inc.ID).Final })
	if m, kept := s.Messages(), sh.kept(inc.ID); len(m) != 1 || m[0].Edits != 2 || kept.Channel != standin.Channel {
		t.Errorf("%d messages, %d edits, kept %+v", len(m), m[0].Edits, kept)
	}
}

// What was posted and cannot be written down is not posted again.
func TestStorageTrouble(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, func(o *Options) { o.Retry = 5 * time.Millisecond })
	inc := waitingIncident()
	sh.put(inc)
	sh.broken = errors.New("disk full")
	p.Changed(inc.ID, true)
	until(t, "a message", func() bool { return len(s.Messages()) == 1 })
	time.Sleep(100 * time.Millisecond)
	sh.mu.Lock()
	sh.broken = nil
	sh.mu.Unlock()
	until(t, "it is kept", func() bool { return sh.kept(inc.ID).TS != "" })
	if n := len(s.Messages()); n != 1 {
		t.Errorf("posted %d times", n)
	}
}

// What another replica is about to post is left to it, and edited afterwards.
func TestAnotherReplicaPosts(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	sh.elsewhere = true
	p, _ := posting(t, s, sh, nil)
	inc := waitingIncident()
	sh.put(inc)
	p.Changed(inc.ID, true)
	time.Sleep(100 * time.Millisecond)
	if n := len(s.Messages()); n != 0 {
		t.Errorf("%d messages; another replica posts it", n)
	}
	sh.mu.Lock()
	sh.elsewhere = false
	sh.mu.Unlock()
	until(t, "a message, once nobody else does", func() bool { return len(s.Messages()) == 1 })
}

// Somebody deleted the message: there is a new one.
func TestDeletedMessage(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	inc := waitingIncident()
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a message", func() bool { return len(s.Messages()) == 1 && sh.kept(inc.ID).TS != "" })
	s.Delete(s.Messages()[0].TS)
	inc.Phase, inc.Outcome, inc.ClosedAt = incident.Escalated, incident.Expired, noon
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a new message", func() bool { return len(s.Messages()) == 1 })
}

func (s *shelf) kept(id string) Posted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posted[id]
}

// Slack's rate is kept: no call is too soon, many changes are one edit, and who
// is asked comes first.
func TestRate(t *testing.T) {
	s, sh := slackServer(t, standin.Options{Interval: 200 * time.Millisecond}), newShelf()
	p, _ := posting(t, s, sh, func(o *Options) { o.Interval = 220 * time.Millisecond })
	for i := range 5 {
		inc := waitingIncident()
		inc.ID = fmt.Sprintf("20261121-120000.000-0000000%d", i)
		inc.Phase, inc.Outcome, inc.ClosedAt = incident.Escalated, incident.DryRun, noon
		if i == 4 {
			inc.Phase = incident.AwaitingApproval
		}
		sh.put(inc)
		for range 50 {
			p.Changed(inc.ID, i == 4)
		}
	}
	until(t, "all messages", func() bool { return len(s.Messages()) == 5 })
	if n := s.Limited(); n > 0 {
		t.Errorf("%d calls came too soon", n)
	}
	if m := s.Messages(); !strings.Contains(m[0].Text+m[1].Text, "Approval wanted") {
		t.Errorf("who is asked came late: %q, %q", m[0].Text, m[1].Text)
	}
	if calls := s.Calls("chat.postMessage") + s.Calls("chat.update"); calls > 7 {
		t.Errorf("%d calls for five messages", calls)
	}
}

// 429 is obeyed for as long as Slack says; trouble passes, and then it is told.
func TestTrouble(t *testing.T) {
	for name, broken := range map[string]struct {
		status int
		body   string
	}{
		"away": {503, "upstream"}, "not JSON": {200, "<html>"}, "refused": {200, `{"ok":false,"error":"channel_not_found"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s, sh := slackServer(t, standin.Options{}), newShelf()
			var log strings.Builder
			p, _ := posting(t, s, sh, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&locked{w: &log}, nil)) })
			s.Break(func(string) (int, string) { return broken.status, broken.body })
			inc := waitingIncident()
			sh.put(inc)
			p.Changed(inc.ID, true)
			until(t, "three tries", func() bool { return s.Calls("chat.postMessage") >= 3 })
			s.Break(nil)
			until(t, "a message", func() bool { return len(s.Messages()) == 1 })
			if strings.Contains(log.String(), standin.BotToken) {
				t.Error("the token is in the log")
			}
		})
	}
	t.Run("limited", func(t *testing.T) {
		s, sh := slackServer(t, standin.Options{Interval: 900 * time.Millisecond}), newShelf()
		p, _ := posting(t, s, sh, nil)
		a, b := waitingIncident(), waitingIncident()
		a.Timeline, b.Timeline = nil, nil // nothing in the threads
		b.ID = "20261121-120000.000-00000001"
		sh.put(a)
		sh.put(b)
		p.Changed(a.ID, true)
		p.Changed(b.ID, true)
		until(t, "both", func() bool { return len(s.Messages()) == 2 })
		if n := s.Limited(); n != 1 {
			t.Errorf("%d calls were limited: Retry-After was not obeyed", n)
		}
	})
	t.Run("blocks", func(t *testing.T) {
		s, sh := slackServer(t, standin.Options{}), newShelf()
		p, _ := posting(t, s, sh, nil)
		first := true
		s.Break(func(string) (int, string) {
			if first {
				first = false
				return 200, `{"ok":false,"error":"invalid_blocks"}`
			}
			return 0, ""
		})
		inc := waitingIncident()
		sh.put(inc)
		p.Changed(inc.ID, true)
		until(t, "a message", func() bool { return len(s.Messages()) == 1 })
		if m := s.Messages()[0]; !strings.Contains(m.Text, inc.ID) {
			t.Errorf("the text is %q", m.Text)
		}
	})
}

type locked struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// A group's members are asked once in a while; an answer that does not come is an
// error, and so is a wrong token.
func TestMembers(t *testing.T) {
	s := slackServer(t, standin.Options{Groups: map[string][]string{"S1": {"U1", "U2"}}})
	c := client(t, s, standin.BotToken)
	for range 3 {
		if users, err := c.Members(t.Context(), "S1"); err != nil || fmt.Sprint(users) != "[U1 U2]" {
			t.Fatalf("%v, %v", users, err)
		}
	}
	if n := s.Calls("usergroups.users.list"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if users, err := c.Members(t.Context(), "S2"); err == nil || !strings.Contains(err.Error(), "no_such_subteam") {
		t.Errorf("a group that is not there: %v, %v", users, err)
	}
	c.members = map[string]members{"S1": {[]string{"U1"}, time.Now().Add(-time.Second)}}
	s.Break(func(string) (int, string) { return 500, "" })
	if users, err := c.Members(t.Context(), "S1"); err == nil {
		t.Errorf("known once, and Slack is away: %v", users)
	}
	s.Break(nil)
	if _, err := client(t, s, "xoxb-wrong").Members(t.Context(), "S1"); err == nil || strings.Contains(err.Error(), "xoxb") {
		t.Errorf("a wrong token: %v", err)
	}
}
