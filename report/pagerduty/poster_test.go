package pagerduty

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/pagerduty"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const group = `{}/{severity="page"}:{alertname="RequestsSlow"}`

// What is found and how it ends are notes on the incident that Alertmanager opened,
// each once, in order, also over a restart.
func TestNotes(t *testing.T) {
	b := newBed(t)
	b.pd.Open(keyOf("another"), "not this one")
	inc := waiting()
	b.put(inc)
	b.p.Changed(inc.ID, true)
	time.Sleep(50 * time.Millisecond)
	if b.pd.Calls("POST", "/notes") > 0 {
		t.Fatal("a note on an incident of other alerts")
	}
	id := b.pd.Open(keyOf(group), "RequestsSlow") // PagerDuty hears of it later than kmend
	of := func() standin.Incident { return b.pd.Incidents()[1] }
	b.until("a note", func() bool { return len(of().Notes) == 1 })
	want := "kmend 20261121-120000.000-0a1b2c3d: found\npod shop/web-1/app on node n1\nCPU throttled 1299 of 3000 ms\n" +
		"cpu.throttled confirmed, measured for 3 s at 2026-11-21 12:00:00 UTC (evidence e1)\nPlan raise-cpu-limit\n1. raise the CPU limit: 0.3 CPU -> 0.6 CPU\n" +
		"Policy prod (ask): require approval: production\nkmend approve 20261121-120000.000-0a1b2c3d"
	if got := of().Notes[0]; got != want {
		t.Errorf("the note says\n%s\nwant\n%s", got, want)
	}
	b.until("it is kept", func() bool { return b.kept(inc.ID).Notes == 1 && b.kept(inc.ID).Found == id })
	b.stop()

	inc.Approvals = []incident.Approval{{Approve: true, By: "ada", At: noon}}
	inc.Executions = []incident.Execution{{Result: "applied", Before: "0.3 CPU", After: "0.6 CPU"}}
	inc.Verification = &incident.Verification{Better: true, Reason: "throttled 43% before, 1% after"}
	b.put(closed(inc, incident.Fixed, "it is better"))
	b.start(nil)
	b.p.Changed(inc.ID, true)
	b.until("the end", func() bool { return b.kept(inc.ID).Done })
	want = "kmend 20261121-120000.000-0a1b2c3d: fixed\nApproved by ada at 2026-11-21 12:00:00 UTC\nStep 1 applied: 0.3 CPU -> 0.6 CPU\n" +
		"Measured again: throttled 43% before, 1% after\nit is better\nClosed at 2026-11-21 12:01:00 UTC"
	if got := of().Notes; len(got) != 2 || got[1] != want {
		t.Errorf("notes %q, want the second to be\n%s", got, want)
	}
	b.p.Changed(inc.ID, true)
	time.Sleep(50 * time.Millisecond)
	if n := b.pd.Calls("POST", "/notes"); n != 2 || b.pd.Calls("POST", "/v2/enqueue") > 0 {
		t.Errorf("%d notes were sent, %d events", n, b.pd.Calls("POST", "/v2/enqueue"))
	}
}

// kmend died between PagerDuty's taking a note and writing that down.
func TestNoteIsNotRepeated(t *testing.T) {
	b := newBed(t)
	b.pd.Open(keyOf(group), "RequestsSlow")
	b.broken = errors.New("disk full")
	inc := waiting()
	b.put(inc)
	b.p.Changed(inc.ID, true)
	b.notes(1)
	time.Sleep(50 * time.Millisecond)
	b.mu.Lock()
	b.broken = nil
	b.mu.Unlock()
	b.until("it is kept", func() bool { return b.kept(inc.ID).Notes == 1 })
	if n := b.pd.Calls("POST", "/notes"); n != 1 {
		t.Errorf("the note was sent %d times", n)
	}
}

// PagerDuty that is away, limits or merges incidents loses nothing.
func TestPagerDutyAway(t *testing.T) {
	b := newBed(t)
	first := b.pd.Open(keyOf(group), "RequestsSlow")
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusUnauthorized} {
		b.pd.Break(func(string) int { return status })
		inc := waiting()
		inc.ID = fmt.Sprint("incident-", status)
		b.put(inc)
		b.p.Changed(inc.ID, true)
		result := map[bool]string{true: "limited", false: "failed"}[status == http.StatusTooManyRequests]
		b.until(fmt.Sprint("it is tried again after ", status), func() bool { return testutil.ToFloat64(b.p.Metrics.messages.WithLabelValues(result)) >= 2 })
		b.pd.Break(nil)
		b.until("the note", func() bool { return b.kept(inc.ID).Notes == 1 })
	}
	b.notes(3)
	b.pd.Delete(first)
	second := b.pd.Open(keyOf(group), "RequestsSlow, merged")
	b.put(func() incident.Incident {
		inc := closed(waiting(), incident.Denied, "no")
		inc.ID, inc.ClosedAt = "incident-503", time.Now()
		return inc
	}())
	b.p.Changed("incident-503", true)
	b.until("the note on the incident that there is", func() bool { return b.kept("incident-503").Done })
	if n := b.notes(1); !strings.Contains(n[0], "denied") || b.kept("incident-503").Found != second {
		t.Errorf("notes %q", n)
	}
}

// No incident in PagerDuty: that is said once, and it is not looked for for ever.
func TestNoIncident(t *testing.T) {
	b := newBed(t)
	inc := closed(waiting(), incident.DryRun, "dry run")
	inc.ReceivedAt = time.Now().Add(-time.Hour)
	b.put(inc)
	b.p.Changed(inc.ID, true)
	b.until("it is given up", func() bool { return b.kept(inc.ID).Done })
	if n := testutil.ToFloat64(b.p.Metrics.messages.WithLabelValues("no_incident")); n != 1 {
		t.Errorf("no_incident counted %v times", n)
	}
}

// What kmend broke or left behind pages somebody, and a later episode that ends well ends that.
func TestPages(t *testing.T) {
	b := newBed(t)
	inc := closed(waiting(), incident.Failed, "step 1 failed:\nconflict")
	b.put(inc)
	b.pd.Open(keyOf(group), "RequestsSlow")
	b.p.Changed(inc.ID, true)
	b.until("a page", func() bool { return b.kept(inc.ID).Done })
	page := b.pd.Incidents()[1]
	if page.Key != "kmend/"+inc.ID || page.Title != "kmend failed: pod shop/web-1/app: step 1 failed: conflict" || page.Status != "triggered" ||
		page.Details["cause"] != "cpu.throttled" || page.Details["runbook"] != "raise-cpu-limit" || page.Details["node"] != "n1" || page.Details["incident"] != inc.ID {
		t.Errorf("the page is %+v", page)
	}
	itself := closed(waiting(), incident.Superseded, "the alert resolved")
	itself.First, itself.ID, itself.Episode = inc.ID, inc.ID+".2", 2
	b.put(itself)
	b.p.Changed(itself.ID, true)
	b.until("it is done", func() bool { return b.kept(itself.ID).Done })
	if b.pd.Incidents()[1].Status != "triggered" {
		t.Error("an alert that resolved by itself ended the page")
	}
	again := closed(waiting(), incident.Fixed, "better")
	again.First, again.ID, again.Episode = inc.ID, inc.ID+".3", 3
	b.put(again)
	b.p.Changed(again.ID, true)
	b.until("its end", func() bool { return b.pd.Incidents()[1].Status == "resolved" })
	for _, o := range incident.Outcomes() {
		other := closed(waiting(), o, "x")
		other.ID = "outcome-" + string(o)
		b.put(other)
		b.p.Changed(other.ID, true)
		b.until("told "+string(o), func() bool { return b.kept(other.ID).Done })
	}
	var paged []string
	for _, i := range b.pd.Incidents() {
		if o, ours := strings.CutPrefix(i.Key, "kmend/outcome-"); ours {
			paged = append(paged, o)
		}
	}
	if got := strings.Join(paged, " "); got != "failed undone interrupted" {
		t.Errorf("paged for %q", got)
	}
}

// PagerDuty's incident is acknowledged and resolved where the policy says so, once.
func TestUpdates(t *testing.T) {
	for name, c := range map[string]struct {
		may         *incident.PagerDutyUpdates
		others      int
		acting, end string
	}{
		"nothing":     {nil, 0, "triggered", "triggered"},
		"acknowledge": {&incident.PagerDutyUpdates{Acknowledge: true}, 0, "acknowledged", "acknowledged"},
		"resolve":     {&incident.PagerDutyUpdates{Resolve: true}, 0, "triggered", "resolved"},
		"both":        {&incident.PagerDutyUpdates{Acknowledge: true, Resolve: true}, 0, "acknowledged", "resolved"},
		"not alone":   {&incident.PagerDutyUpdates{Acknowledge: true, Resolve: true}, 1, "triggered", "triggered"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.others = c.others
			b.pd.Open(keyOf(group), "RequestsSlow")
			show := func(inc incident.Incident, notes int, want string) {
				t.Helper()
				b.put(inc)
				b.p.Changed(inc.ID, true)
				b.notes(notes)
				b.until("PagerDuty's incident is "+want, func() bool { return b.pd.Incidents()[0].Status == want })
			}
			inc := waiting()
			inc.Decisions = append(inc.Decisions, incident.Decision{Effect: incident.Allow, PagerDuty: c.may})
			show(inc, 1, "triggered")
			inc.Phase = incident.Executing
			show(inc, 1, c.acting)
			b.until("it is kept", func() bool { return c.acting == "triggered" || b.kept(inc.ID).Status == c.acting })
			show(closed(inc, incident.Fixed, "better"), 2, c.end)
			b.until("it is done", func() bool { return b.kept(inc.ID).Done })
			wanted := map[string]int{"triggered": 0, "acknowledged": 1, "resolved": 1}[c.acting]
			if c.end != c.acting {
				wanted++
			}
			if n := b.pd.Calls("PUT", "/incidents"); n != wanted {
				t.Errorf("%d updates, want %d", n, wanted)
			}
		})
	}
}

// What failed, or fires again, is neither acknowledged nor resolved at its end.
func TestNoUpdateAtABadEnd(t *testing.T) {
	b := newBed(t)
	b.pd.Open(keyOf(group), "RequestsSlow")
	inc := waiting()
	inc.Decisions = append(inc.Decisions, incident.Decision{Effect: incident.Allow, PagerDuty: &incident.PagerDutyUpdates{Acknowledge: true, Resolve: true}})
	inc.Executions = []incident.Execution{{Result: "applied"}}
	undone, again := closed(inc, incident.Undone, "worse"), closed(inc, incident.Fixed, "better")
	undone.ID, again.ID = "undone", "again"
	again.Episodes = []incident.Episode{{ID: "again"}, {ID: "again.2"}}
	for _, inc := range []incident.Incident{undone, again} {
		b.put(inc)
		b.p.Changed(inc.ID, true)
		b.until("it is done", func() bool { return b.kept(inc.ID).Done })
	}
	if n := b.pd.Calls("PUT", "/incidents"); n != 0 {
		t.Errorf("%d updates", n)
	}
}

// A routing key that PagerDuty does not take keeps nobody from the notes; after a
// day it is given up.
func TestWrongRoutingKey(t *testing.T) {
	b := newBed(t)
	b.pd.Open(keyOf(group), "RequestsSlow")
	b.pd.Break(func(path string) int {
		if strings.HasSuffix(path, "/enqueue") {
			return http.StatusBadRequest
		}
		return 0
	})
	inc := closed(waiting(), incident.Failed, "conflict")
	inc.ClosedAt = time.Now()
	b.put(inc)
	b.p.Changed(inc.ID, true)
	b.notes(2)
	b.until("it is tried again", func() bool { return b.pd.Calls("POST", "/enqueue") > 2 })
	if b.kept(inc.ID).Done {
		t.Error("it is done, and nobody was paged")
	}
	inc.ClosedAt = time.Now().Add(-enough)
	b.put(inc)
	b.until("it is given up", func() bool { return b.kept(inc.ID).Done })
}

// In a storm, parts that ask nothing and changed nothing have no notes.
func TestStormIsQuiet(t *testing.T) {
	b := newBed(t)
	b.pd.Open(keyOf(group), "RequestsSlow")
	for n := range 20 {
		inc := closed(waiting(), incident.DryRun, "dry run")
		inc.ID = fmt.Sprint("part-", n)
		inc.Parent = &incident.Parent{Incident: "parent", Number: n + 1}
		b.put(inc)
		b.p.Changed(inc.ID, true)
		b.until("it is done", func() bool { return b.kept(inc.ID).Done })
	}
	if n := len(b.notes(1)); n != 2*incident.LoudParts {
		t.Errorf("%d notes, want two of each of the first %d", n, incident.LoudParts)
	}
}

func TestDedupKey(t *testing.T) {
	inc := waiting()
	if got := DedupKey(inc, ""); got != keyOf(group) {
		t.Errorf("key %s", got)
	}
	inc.Alerts[0].Annotations = map[string]string{"pagerduty_key": "from/annotation"}
	if got := DedupKey(inc, "pagerduty_key"); got != "from/annotation" {
		t.Errorf("key %s", got)
	}
	inc.Alerts[0].Labels["pagerduty_key"] = "from/label"
	if got := DedupKey(inc, "pagerduty_key"); got != "from/label" {
		t.Errorf("key %s", got)
	}
	inc.DedupKey, inc.Alerts[0].OrgID = "org 2: "+group+"\npod", 2 // of Grafana
	if got := DedupKey(inc, ""); got != keyOf(group) {
		t.Errorf("key %s of Grafana's group", got)
	}
}

// The way from the alert's service to the cause is one line.
func TestNotesHaveThePath(t *testing.T) {
	inc := waiting()
	inc.Diagnosis.Investigation = &incident.Investigation{Root: 1, Hops: []incident.Hop{
		{Service: "front", Via: incident.ViaAlert}, {Target: inc.Target, Service: "*stock*`\n<!channel>", Via: incident.ViaTrace, Cause: incident.CPUThrottled}},
		Extent:  &incident.Extent{Of: "deployment shop/cart", Message: "7 of 40 pods, all on node-3"},
		Sources: []incident.Source{{Name: "loki", Status: incident.SourceFailed, Reason: "no answer within 5s"}, {Name: "tempo", Status: incident.SourceAbsent}}}
	notes := Notes(inc, "")
	if len(notes) != 1 || !strings.Contains(notes[0], "\nPath front -> *stock*`") || !strings.Contains(notes[0], " (cpu.throttled)\nOf deployment shop/cart: 7 of 40 pods, all on node-3\n") || !strings.Contains(notes[0], "\nloki did not answer: no answer within 5s") {
		t.Errorf("%q", notes)
	}
}

// Hostile text makes no second line and no long note.
func TestNotesAreBounded(t *testing.T) {
	inc := waiting()
	inc.Diagnosis.Findings[0].Message = "x\nkmend 1: fixed\x1b[31m" + strings.Repeat("ü", 5000)
	for _, n := range Notes(closed(inc, incident.Failed, strings.Repeat("y", 5000)), "") {
		if len(n) > maxNote || strings.Contains(n, "\x1b") || strings.Contains(n, "\nkmend 1: fixed") || !strings.HasPrefix(n, "kmend "+inc.ID+": ") {
			t.Errorf("%d bytes: %.200q", len(n), n)
		}
	}
}

func TestClientIsChecked(t *testing.T) {
	for want, a := range map[string]Access{
		"neither an API token nor a routing key": {},
		"from is \"ada\"":                        {TokenFile: secretFile(t, "x"), From: "ada"},
		"no such file":                           {RoutingKeyFile: "testdata/absent"},
	} {
		if _, err := NewClient(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", a, err, want)
		}
	}
}

// A page is about what kmend changed, which may be what the alert's target waits for.
func TestPageIsAboutWhatWasChanged(t *testing.T) {
	b := newBed(t)
	inc := closed(waiting(), incident.Failed, "conflict")
	changed := inc.Target
	changed.Pod = "stock-0"
	inc.Diagnosis.Investigation = &incident.Investigation{Root: 1, Hops: []incident.Hop{{Target: inc.Target}, {Target: changed}}}
	b.put(inc)
	b.pd.Open(keyOf(group), "RequestsSlow")
	b.p.Changed(inc.ID, true)
	b.until("a page", func() bool { return b.kept(inc.ID).Done })
	page := b.pd.Incidents()[1]
	if page.Title != "kmend failed: pod shop/stock-0/app: conflict" || page.Details["target"] != "pod shop/stock-0/app" || page.Details["alert_target"] != "pod shop/web-1/app" {
		t.Errorf("the page is %+v", page)
	}
}
