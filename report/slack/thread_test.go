package slack

import (
	"bytes"
	"fmt"
	"image/png"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/slack"
)

// measured is waitingIncident with a ledger to draw and n lines of the timeline.
func measured(n int) incident.Incident {
	inc := waitingIncident()
	inc.Diagnosis.Ledger = incident.Ledger{Threads: 4, WallMS: 12000, States: map[incident.State]float64{incident.OnCPU: 900, incident.Throttled: 6000, incident.Sleep: 5100}}
	inc.Timeline = nil
	return longer(inc, n)
}

// longer is an incident with n more lines of the timeline.
func longer(inc incident.Incident, n int) incident.Incident {
	for range n {
		inc.Timeline = append(inc.Timeline, incident.Event{Seq: len(inc.Timeline) + 1, At: noon, Message: fmt.Sprintf("line %d", len(inc.Timeline)+1)})
	}
	return inc
}

// fixedIncident is one that was measured again.
func fixedIncident(inc incident.Incident) incident.Incident {
	again := *inc.Diagnosis
	again.Ledger.States = map[incident.State]float64{incident.OnCPU: 900, incident.Throttled: 60, incident.Sleep: 11040}
	inc.Phase, inc.Outcome, inc.Reason, inc.ClosedAt = incident.ResolvedPhase, incident.Fixed, "better", noon
	inc.Verification = &incident.Verification{Better: true, Reason: "43% before, 1% after", Diagnosis: again}
	return inc
}

// The thread has each line of the timeline and each picture once and in order, over restarts too.
func TestThread(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, stop := posting(t, s, sh, nil)
	inc := measured(3)
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a thread", func() bool { m := s.Messages(); return len(m) == 1 && len(m[0].Thread) == 1 && len(m[0].Files) == 1 })
	stop()

	q, _ := posting(t, s, sh, nil)
	q.Changed(inc.ID, true) // nothing is new
	inc = longer(fixedIncident(inc), 2)
	sh.put(inc)
	q.Changed(inc.ID, true)
	until(t, "the end", func() bool { return sh.kept(inc.ID).Final })
	m := s.Messages()[0]
	if got := strings.Join(m.Thread, "|"); got != "12:00:00 line 1\n12:00:00 line 2\n12:00:00 line 3|12:00:00 line 4\n12:00:00 line 5" {
		t.Errorf("the thread is %q", got)
	}
	if len(m.Files) != 2 || m.Files[0].Name != "evidence.png" || m.Files[1].Title != "Before and after" || !strings.Contains(m.Files[1].Alt, "throttled 50% 6000 ms then 0.5% 60 ms") {
		t.Fatalf("files %.500v", m.Files)
	}
	for _, f := range m.Files {
		if _, err := png.Decode(bytes.NewReader(f.Data)); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if n := s.Calls("files.completeUploadExternal"); n != 2 {
		t.Errorf("%d files were shared", n)
	}
}

// While Slack is away for several changes they are kept, and come in order when it is back.
func TestThreadAfterSlackWasAway(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, stop := posting(t, s, sh, nil)
	s.Break(func(string) (int, string) { return 503, "upstream" })
	first, second := measured(1), measured(1)
	second.ID = "20261121-120001.000-0a1b2c3d"
	for n := range 3 {
		before := s.Calls("chat.postMessage")
		for _, inc := range []*incident.Incident{&first, &second} {
			*inc = longer(*inc, 1)
			if n == 2 {
				*inc = fixedIncident(*inc)
			}
			sh.put(*inc)
			p.Changed(inc.ID, false)
		}
		until(t, "it is tried", func() bool { return s.Calls("chat.postMessage") > before })
	}
	stop() // and kmend is started again meanwhile

	q, _ := posting(t, s, sh, nil)
	q.Changed(first.ID, false)
	q.Changed(second.ID, false)
	s.Break(nil)
	until(t, "both ends", func() bool { return sh.kept(first.ID).Final && sh.kept(second.ID).Final })
	all := s.Messages()
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	for i, m := range all {
		if !strings.HasPrefix(m.Text, "Fixed") || fmt.Sprint(m.Thread) != "[12:00:00 line 1\n12:00:00 line 2\n12:00:00 line 3\n12:00:00 line 4]" || len(m.Files) != 2 {
			t.Errorf("message %d is %q, its thread %q with %d files", i, m.Text, m.Thread, len(m.Files))
		}
	}
}

// Without the scope for files there are no pictures, which is said once and holds up nothing.
func TestNoScopeForPictures(t *testing.T) {
	s, sh := slackServer(t, standin.Options{NoFiles: true}), newShelf()
	var log strings.Builder
	p, _ := posting(t, s, sh, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&locked{w: &log}, nil)) })
	for n := range 3 {
		inc := fixedIncident(measured(2))
		inc.ID = fmt.Sprintf("20261121-12000%d.000-0a1b2c3d", n)
		sh.put(inc)
		p.Changed(inc.ID, false)
		until(t, "the end", func() bool { return sh.kept(inc.ID).Final })
	}
	if m := s.Messages(); len(m) != 3 || len(m[2].Thread) != 1 {
		t.Errorf("%d messages", len(m))
	}
	if n := strings.Count(log.String(), "files:write"); n != 1 || s.Calls("files.getUploadURLExternal") != 1 {
		t.Errorf("it is said %d times, asked %d times", n, s.Calls("files.getUploadURLExternal"))
	}
}

// What goes wrong with a picture holds up no message; where Slack may have taken it, it is not sent again.
func TestPictureTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		status int
		body   string
		files  int // at the end
	}{
		"away":    {"upload", 503, "upstream", 1},
		"broken":  {"files.completeUploadExternal", 500, "upstream", 1},
		"refused": {"files.getUploadURLExternal", 200, `{"ok":false,"error":"file_uploads_disabled"}`, 0},
		"unknown": {"files.completeUploadExternal", 200, `{"ok":tr`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, sh := slackServer(t, standin.Options{}), newShelf()
			p, _ := posting(t, s, sh, nil)
			s.Break(func(method string) (int, string) {
				if method == c.method {
					return c.status, c.body
				}
				return 0, ""
			})
			inc := measured(1)
			sh.put(inc)
			p.Changed(inc.ID, true)
			until(t, "it is tried", func() bool { return s.Calls(c.method) > 0 })
			inc.Approvals = []incident.Approval{{Approve: true, By: "ada", Plan: inc.Plan.Digest(), At: noon}}
			sh.put(inc)
			p.Changed(inc.ID, true)
			until(t, "an edit all the same", func() bool { return s.Messages()[0].Edits == 1 })
			s.Break(nil)
			until(t, "the thread is complete", func() bool { return sh.kept(inc.ID).Told == inc.ID+" 1 1" && len(s.Messages()[0].Files) == c.files })
		})
	}
}

// Two replicas write one thread.
func TestThreadOfTwoReplicas(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	q, _ := posting(t, s, sh, nil)
	inc := measured(1)
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a message", func() bool { return sh.kept(inc.ID).TS != "" })
	for range 20 {
		inc = longer(inc, 1)
		sh.put(inc)
		p.Changed(inc.ID, true)
		q.Changed(inc.ID, true)
	}
	until(t, "all lines", func() bool { return strings.HasPrefix(sh.kept(inc.ID).Told, inc.ID+" 21 ") })
	until(t, "nothing is under way", func() bool {
		return strings.Count(strings.Join(s.Messages()[0].Thread, "\n"), "line") >= 21 && len(s.Messages()[0].Files) == 1
	})
	said := strings.Join(s.Messages()[0].Thread, "\n") + "\n"
	for n := range 21 {
		if times := strings.Count(said, fmt.Sprintf("line %d\n", n+1)); times != 1 {
			t.Errorf("line %d is there %d times", n+1, times)
		}
	}
}

// A long timeline is several replies; hostile lines make no markup.
func TestLongThread(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	inc := measured(0)
	for n := range 30 {
		inc.Timeline = append(inc.Timeline, incident.Event{At: noon.Add(time.Duration(n) * time.Second), Message: "<!channel> <https://evil.example|x>\n" + strings.Repeat("&", 400)})
	}
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "all", func() bool { return strings.HasPrefix(sh.kept(inc.ID).Told, inc.ID+" 30 1") })
	thread := s.Messages()[0].Thread
	if len(thread) < 5 {
		t.Errorf("%d replies", len(thread))
	}
	for _, r := range thread {
		if len(r) > maxSection || strings.Contains(r, "<") {
			t.Errorf("%d bytes: %.100q", len(r), r)
		}
	}
}

func TestLinks(t *testing.T) {
	const good = "https://grafana.example.com:3000/d/abc?orgId=1&viewPanel=2"
	inc := waitingIncident()
	inc.Alerts[0].PanelURL, inc.Alerts[0].ImageURL = good, "https://img.example.com/a|b> <!channel>"
	_, says := render(t, inc)
	for _, want := range []string{"<" + good + "|Panel on grafana.example.com:3000>", "<https://img.example.com/a%7Cb%3E%20%3C%21channel%3E|Image on img.example.com>"} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q:\n%s", want, says)
		}
	}
	for _, bad := range []string{"javascript:alert(1)", "slack://user", "https://ada@evil.example/", "https://gräfana.example/", "//evil.example", "https://", "https:evil", "https://x|y/", "https://" + strings.Repeat("a", 2000) + "/", "file:///etc/passwd", "https://a/" + strings.Repeat("x", 2000)} {
		if l := link("Panel", bad); l != "" {
			t.Errorf("%.60q makes %.100q", bad, l)
		}
	}
	for n := range 100 {
		inc.Alerts = append(inc.Alerts, incident.Alert{PanelURL: fmt.Sprintf("https://g/%d/%s", n, strings.Repeat("x", 900))})
	}
	if l := links(inc); len(l) != maxLinks {
		t.Errorf("%d links", len(l))
	}
	render(t, inc)
}

// A route that is off has no message; one that was posted before stays where it is, also
// when somebody deletes it.
func TestRouteOff(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	inc := measured(1)
	sh.put(inc)
	p, _ := posting(t, s, sh, func(o *Options) {
		o.Route = func(i incident.Incident) Route {
			if i.Phase.Closed() || i.ID != inc.ID {
				return Route{}
			}
			return Route{Channel: "#shop"}
		}
	})
	other := measured(1)
	other.ID = "20261121-120009.000-0a1b2c3d"
	sh.put(other)
	p.Changed(other.ID, true)
	p.Changed(inc.ID, false)
	until(t, "a message", func() bool { return sh.kept(inc.ID).TS != "" })
	s.Delete(s.Messages()[0].TS)
	inc = fixedIncident(inc)
	sh.put(inc)
	p.Changed(inc.ID, true)
	until(t, "a new one", func() bool { m := s.Messages(); return len(m) == 1 && strings.HasPrefix(m[0].Text, "Fixed") })
	if m := s.Messages()[0]; m.Channel != standin.OtherChannel || sh.kept(other.ID).TS != "" {
		t.Errorf("it is in %s, and of the other there is %q", m.Channel, sh.kept(other.ID).TS)
	}
}

// What Slack missed of an episode is sent when it is back, also where the next episode
// has begun meanwhile: before that one's, and once.
func TestThreadOfAnEarlierEpisode(t *testing.T) {
	s, sh := slackServer(t, standin.Options{}), newShelf()
	p, _ := posting(t, s, sh, nil)
	first := measured(1)
	sh.put(first)
	p.Changed(first.ID, true)
	until(t, "the first line", func() bool { return strings.HasPrefix(sh.kept(first.ID).Told, first.ID+" 1 ") })
	first = longer(first, 1)
	second := measured(1)
	second.First, second.ID, second.Episode = first.ID, first.ID+".2", 2
	third := measured(1)
	third.First, third.ID, third.Episode = first.ID, first.ID+".3", 3
	second.Timeline[0].Message, third.Timeline[0].Message = "of the second", "of the third"
	third.Episodes = []incident.Episode{{ID: first.ID}, {ID: second.ID}, {ID: third.ID}}
	for _, inc := range []incident.Incident{first, second, third} {
		sh.put(inc)
	}
	p.Changed(third.ID, true)
	until(t, "all of it", func() bool { return strings.HasPrefix(sh.kept(first.ID).Told, third.ID+" 1 1") })
	said := strings.Join(s.Messages()[0].Thread, "\n")
	at := -1
	for _, want := range []string{"line 1", "line 2", "of the second", "of the third"} {
		if i := strings.Index(said, want); i <= at || strings.Count(said, want) != 1 {
			t.Errorf("%q is not there once, in order: %q", want, said)
		} else {
			at = i
		}
	}
}
