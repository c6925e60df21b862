package slack

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	standin "github.com/kmend/kmend/test/slack"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// waitingIncident is one that asks two persons.
func waitingIncident() incident.Incident {
	target := incident.Target{Namespace: "shop", Pod: "web-1", Container: "app", Cluster: "prod"}
	plan := incident.Plan{Runbook: "raise-cpu-limit", Cause: incident.CPUThrottled, Target: target, Undo: incident.UndoAutomatic, Evidence: []string{"e1"},
		Steps: []incident.Step{{Name: "raise", Action: "kubernetes.resize_cpu", With: map[string]any{"factor": 2}, Preview: &incident.Preview{
			Summary: "raise the CPU limit from 0.3 to 0.6", Before: "0.3 CPU", After: "0.6 CPU", Server: "kubernetes server-side dry run: limits.cpu=600m",
			Preconditions: map[string]string{"uid": "u1"}}}}}
	return incident.Incident{ID: "20261121-120000.000-0a1b2c3d", Target: target, Phase: incident.AwaitingApproval, ReceivedAt: noon,
		Alerts: []incident.Alert{{Labels: map[string]string{"alertname": "RequestsSlow", "severity": "page"}, Annotations: map[string]string{"summary": "p99 is 3 s"}}},
		Diagnosis: &incident.Diagnosis{Target: target, Node: incident.Node{Name: "n1"}, Verdict: incident.Confirmed, Window: incident.Window{Start: noon, Seconds: 3},
			Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: .43, Message: "CPU throttled 1299 of 3000 ms", Threshold: "at least 5% and 50 ms", Evidence: []string{"e1"}}},
			Evidence: []incident.Evidence{{ID: "e0", Probe: "threads", Metric: "on_cpu", Value: 900, Unit: "ms"}, {ID: "e1", Probe: "threads", Metric: "throttled", Value: 1299, Unit: "ms"}}},
		Plan: &plan,
		Decisions: []incident.Decision{{Effect: incident.RequireApproval, Policy: "prod", Rule: "ask", Reason: "production",
			Approval: &incident.Approvers{Users: []string{"U1", "U2"}, Groups: []string{"S1"}, Persons: 2}}},
		Timeline: []incident.Event{{Kind: "awaiting_approval", Message: "waiting for an approval until 2026-11-21T12:15:00Z"}},
	}
}

func render(t *testing.T, inc incident.Incident) (Message, string) {
	t.Helper()
	m, ok := Render(inc, Form{Buttons: true})
	if !ok {
		t.Fatal("nothing to tell")
	}
	b, err := json.Marshal(m.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	if err := standin.CheckBlocks(b); err != nil {
		t.Fatalf("Slack would refuse it: %v\n%s", err, b)
	}
	return m, standin.Says(b)
}

func TestRenderWaiting(t *testing.T) {
	inc := waitingIncident()
	m, says := render(t, inc)
	for _, want := range []string{
		"Approval wanted: pod shop/web-1/app", "`RequestsSlow` severity `page` `p99 is 3 s`", "on node `n1` of cluster `prod`", "confirmed `cpu.throttled`",
		"CPU throttled 1299 of 3000 ms", "at least 5% and 50 ms", "`raise-cpu-limit`, undone if it does not help",
		"1. raise the CPU limit from 0.3 to 0.6", "0.3 CPU → 0.6 CPU; dry run: kubernetes server-side dry run: limits.cpu=600m",
		"Approval is asked for by policy prod (ask): production", "0 of 2 persons said yes; waiting for an approval until 2026-11-21T12:15:00Z; who may answer: U1, U2, S1",
		"kmend approve 20261121-120000.000-0a1b2c3d",
	} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q:\n%s", want, says)
		}
	}
	b, _ := json.Marshal(m.Blocks)
	ids, values := (standin.Message{Blocks: b}).Buttons()
	if fmt.Sprint(ids) != "[kmend.approve kmend.deny kmend.details]" || values[ActionApprove] != inc.ID+" "+inc.Plan.Digest() || m.Final {
		t.Errorf("buttons %v %v, final %v", ids, values, m.Final)
	}
	if m, _ := Render(inc, Form{Buttons: false}); len(m.Blocks) != 7 {
		t.Errorf("without a way for clicks there are %d blocks", len(m.Blocks))
	}
	inc.Phase, inc.Decisions = incident.Planned, nil
	if _, ok := Render(inc, Form{Buttons: true}); ok {
		t.Error("something is told before it is decided")
	}
}

// The way from the alert's service to the cause is one line, whatever the services
// are called.
func TestRenderPath(t *testing.T) {
	inc := waitingIncident()
	inc.Diagnosis.Investigation = &incident.Investigation{Root: 1, Hops: []incident.Hop{
		{Service: "front", Via: incident.ViaAlert}, {Target: inc.Target, Service: "*stock*`\n<!channel>", Via: incident.ViaTrace, Cause: incident.CPUThrottled}}}
	if _, says := render(t, inc); !strings.Contains(says, "*Path* `front -> *stock*' <!channel> (cpu.throttled)`") {
		t.Errorf("no path:\n%s", says)
	}
	inc.Diagnosis.Investigation.Extent = &incident.Extent{Of: "deployment shop/`cart`", Message: "7 of 40 pods, all on <node-3>"}
	if _, says := render(t, inc); !strings.Contains(says, "*Extent* `deployment shop/'cart'` `7 of 40 pods, all on <node-3>`") {
		t.Errorf("no extent:\n%s", says)
	}
}

// The last message says exactly what came of it, and has no buttons.
func TestRenderOutcomes(t *testing.T) {
	yes := func(by string) incident.Approval { return incident.Approval{Approve: true, By: by, Name: by, At: noon} }
	for o, want := range map[incident.Outcome][]string{
		incident.Fixed:               {"Fixed: pod", "Approved by ada at 2026-11-21 12:00:00 UTC", "Approved by bob", "Step 1 applied: 0.3 CPU → 0.6 CPU", "it is better"},
		incident.DryRun:              {"Dry run: pod", "Not executed: the plan is shown only."},
		incident.OutcomeClean:        {"Kernel is clean: pod", "Not executed"},
		incident.OutcomeInconclusive: {"Inconclusive: pod", "Not executed"},
		incident.NoTarget:            {"Nothing to measure: pod", "Not executed"},
		incident.NoRunbook:           {"No runbook: pod", "Not executed"},
		incident.Reported:            {"For a person: pod", "To do", "look at the disk", "Not executed: it is a person's to remove."},
		incident.Denied:              {"Denied: pod", "Denied by bob at", "Not executed: the plan was not allowed."},
		incident.Expired:             {"Expired: pod", "Not executed: the time was over."},
		incident.Superseded:          {"Superseded: pod", "Not executed: the alert resolved before kmend acted."},
		incident.Failed:              {"Failed: pod", "a person has to look"},
		incident.Undone:              {"Undone: pod", "was undone"},
		incident.Applied:             {"Applied: pod", "its effect is not measured", "kmend acted; whether it helped is not measured"},
		incident.Interrupted:         {"Interrupted: pod", "repeated nothing"},
	} {
		inc := waitingIncident()
		inc.Phase, inc.Outcome, inc.Reason, inc.ClosedAt = o.Phase(), o, "the reason of "+string(o), noon
		switch o {
		case incident.Fixed:
			inc.Approvals = []incident.Approval{yes("ada"), yes("bob")}
			inc.Executions = []incident.Execution{{Before: "0.3 CPU", After: "0.6 CPU", Result: "applied"}}
		case incident.Reported:
			inc.Plan, inc.Decisions = &incident.Plan{Runbook: "report-disk", Report: "look at the disk"}, nil
		case incident.Applied:
			plan := *inc.Plan
			plan.Verify = incident.Verify{Unmeasured: "the pod is gone"}
			inc.Plan = &plan
		case incident.Denied:
			inc.Approvals = []incident.Approval{{By: "bob", At: noon}}
		case incident.OutcomeClean, incident.NoTarget:
			inc.Plan, inc.Decisions, inc.Diagnosis = nil, nil, nil
		}
		m, says := render(t, inc)
		b, _ := json.Marshal(m.Blocks)
		if ids, _ := (standin.Message{Blocks: b}).Buttons(); len(ids) > 0 || !m.Final {
			t.Errorf("%s: buttons %v, final %v", o, ids, m.Final)
		}
		for _, w := range append(want, inc.Reason) {
			if !strings.Contains(says, w) {
				t.Errorf("%s: it does not say %q:\n%s", o, w, says)
			}
		}
	}
	if len(headlines) != len(incident.Outcomes()) || len(endings) != len(incident.Outcomes()) {
		t.Error("an outcome has no words")
	}
}

// evil is what an alert could hold to make Slack do something.
const evil = "<!channel> <@U1> <https://evil.example|ok> &amp; @channel `*x*` \u202e\x1b[31m\n> quote "

// Whatever the texts hold and however long they are, Slack takes the message and
// makes no mention and no link of it.
func TestRenderHostile(t *testing.T) {
	for n, many := range map[int]int{1: 200, 40: 200, 4000: 3} {
		s := strings.Repeat(evil, n)
		inc := waitingIncident()
		inc.Target.Pod, inc.Diagnosis.Target.Pod, inc.Diagnosis.Node.Name, inc.Reason = s, s, s, s
		inc.Diagnosis.Findings[0].Message, inc.Diagnosis.Findings[0].Threshold = s, s
		inc.Diagnosis.Evidence[0].Subject = s
		for i := range many {
			inc.Alerts = append(inc.Alerts, incident.Alert{Labels: map[string]string{"alertname": s, "severity": s}, Annotations: map[string]string{"summary": s}})
			inc.Diagnosis.Evidence = append(inc.Diagnosis.Evidence, incident.Evidence{ID: fmt.Sprint(i), Subject: s})
			inc.Plan.Steps = append(inc.Plan.Steps, incident.Step{Name: s, Action: s, With: map[string]any{s: s}, Preview: &incident.Preview{Summary: s, Before: s, After: s, Server: s, Preconditions: map[string]string{s: s}}})
			inc.Approvals = append(inc.Approvals, incident.Approval{By: s, At: noon})
		}
		inc.Decisions[0].Reason, inc.Decisions[0].Policy = s, s
		m, says := render(t, inc)
		if strings.ContainsAny(says+m.Text, "\x1b\u202e") || strings.Contains(m.Text, "<") {
			t.Errorf("n %d: control characters or markup in %q", n, m.Text)
		}
		b, err := json.Marshal(Details(inc).Blocks)
		if err != nil {
			t.Fatal(err)
		}
		if err := standin.CheckBlocks(b); err != nil {
			t.Errorf("n %d: details: %v", n, err)
		}
	}
}

func TestDetails(t *testing.T) {
	b, err := json.Marshal(Details(waitingIncident()).Blocks)
	if err != nil {
		t.Fatal(err)
	}
	says := standin.Says(b)
	for _, want := range []string{"confirmed: CPU throttled 1299 of 3000 ms (43%)", "e1 threads throttled 1299 ms\ne0 threads on_cpu 900 ms", "with factor = 2", "only while uid is u1"} {
		if !strings.Contains(says, want) {
			t.Errorf("the details do not say %q:\n%s", want, says)
		}
	}
}

func TestCut(t *testing.T) {
	for limit := 4; limit < 40; limit++ {
		got := cut("a&amp;b&lt;c…é&gt;defghijklmnopqrstuvw", limit)
		if len(got) > limit || strings.Contains(got, "\uFFFD") || strings.Count(got, "&") != strings.Count(got, ";") {
			t.Errorf("cut to %d: %q", limit, got)
		}
	}
}
