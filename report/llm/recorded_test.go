package llm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// recorded makes an incident of each measurement of the lab: real diagnoses, with
// an alert, and where a cause is confirmed by turns a plan that is only shown, one
// that waits, one that helped and one that did not.
func recorded(t *testing.T) map[string]incident.Incident {
	t.Helper()
	files, err := filepath.Glob("../../test/lab/testdata/*.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no measurements of the lab (%v)", err)
	}
	all := map[string]incident.Incident{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var run struct {
			Kernel  string
			Answers map[string]incident.Diagnosis
		}
		if err := json.NewDecoder(z).Decode(&run); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(mapKeys(run.Answers)) {
			all[run.Kernel+" "+name] = incidentOf(len(all), run.Answers[name])
		}
	}
	return all
}

func mapKeys(m map[string]incident.Diagnosis) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func incidentOf(i int, d incident.Diagnosis) incident.Incident {
	start := d.Window.Start
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	inc := incident.Incident{
		ID: fmt.Sprintf("20261122-211646.924-%08x", i), Phase: incident.Escalated, Target: incident.Target{Cgroup: d.Target.Cgroup, PID: d.Target.PID},
		Alerts: []incident.Alert{{Fingerprint: "f", Status: incident.Firing, StartsAt: start,
			Labels:      map[string]string{"alertname": "RequestsSlow", "severity": "page", "service": "cart-1", "api_token": "abc123def456"},
			Annotations: map[string]string{"summary": "Requests take too long; call ada@example.com"}}},
		Diagnosis: &d, ReceivedAt: start, ClosedAt: at(8), Deliveries: 1,
		Timeline: []incident.Event{{Seq: 1, At: start, Phase: incident.Received, Kind: "received", Message: `firing: "RequestsSlow" about ` + d.Target.String()}},
	}
	event := func(s float64, p incident.Phase, kind, text string) {
		inc.Timeline = append(inc.Timeline, incident.Event{Seq: len(inc.Timeline) + 1, At: at(s), Phase: p, Kind: kind, Message: text})
	}
	root, ok := d.RootCause()
	if !ok {
		inc.Outcome, inc.Reason = incident.OutcomeInconclusive, "the measurement allows no conclusion"
		if d.Verdict == incident.Clean {
			inc.Outcome, inc.Reason = incident.OutcomeClean, "everything was measured and nothing is over its threshold"
		}
		return inc
	}
	event(3, incident.Diagnosing, "confirmed", root.Message)
	inc.Plan = &incident.Plan{Runbook: "raise-cpu-limit-cgroup", Cause: root.Cause, Target: d.Target, Undo: incident.UndoAutomatic, Evidence: root.Evidence,
		Steps: []incident.Step{{Name: "raise the CPU quota", Action: "cgroup.set_cpu_quota", With: map[string]any{"factor": 2},
			Preview: &incident.Preview{Summary: "raise the CPU quota from 0.2 to 0.4 CPU", Before: "0.2 CPU", After: "0.4 CPU", Server: "cgroup read"}}}}
	inc.Decisions = []incident.Decision{{Effect: incident.Allow, Policy: "demo", Rule: "its own cgroup", Reason: "it is the demo's own workload"}}
	event(4, incident.Planned, "planned", "runbook raise-cpu-limit-cgroup: raise the CPU quota from 0.2 to 0.4 CPU")
	before, after := root.Share, root.Share/10
	switch i % 4 {
	case 0:
		inc.Outcome, inc.Reason, inc.Decisions[0].DryRun = incident.DryRun, "would raise the CPU quota from 0.2 to 0.4 CPU", true
		return inc
	case 1:
		inc.Phase, inc.ClosedAt = incident.AwaitingApproval, time.Time{}
		inc.Decisions[0].Effect = incident.RequireApproval
		return inc
	case 2:
		inc.Phase, inc.Outcome = incident.ResolvedPhase, incident.Fixed
	case 3:
		inc.Outcome, after = incident.Undone, root.Share
	}
	inc.Executions = []incident.Execution{{Step: 0, Action: "cgroup.set_cpu_quota", Before: "0.2 CPU", After: "0.4 CPU", Result: "applied", Started: at(4), Ended: at(4.01)}}
	event(4.1, incident.Executing, "applied", "step 1 of 1: applied: 0.2 CPU -> 0.4 CPU")
	v := incident.Verification{Cause: root.Cause, Before: before, After: after, Better: i%4 == 2,
		Reason: fmt.Sprintf("share %.2f -> %.2f (must fall by 50%%)", before, after)}
	inc.Verification, inc.Reason = &v, v.Reason
	if i%4 == 3 {
		inc.Executions[0].Result = "undone"
	}
	return inc
}
