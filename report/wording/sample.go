package wording

import (
	"time"

	"github.com/kmend/kmend/incident"
)

// sample has something in every field, so that a template is tried with it.
func sample() incident.Incident {
	t := incident.Target{Cluster: "prod", Node: "n1", Namespace: "shop", Pod: "cart-1", Container: "app"}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return incident.Incident{ID: "20261121-120000.000-0a1b2c3d", Target: t, Phase: incident.ResolvedPhase, Outcome: incident.Fixed, Reason: "better", ReceivedAt: at,
		Alerts: []incident.Alert{{Labels: map[string]string{"alertname": "RequestsSlow", "severity": "page", "team": "shop"}, Annotations: map[string]string{"summary": "p99 is 3 s"}}},
		Diagnosis: &incident.Diagnosis{Target: t, Node: incident.Node{Name: "n1"}, Verdict: incident.Confirmed,
			Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Message: "CPU throttled 1299 of 3000 ms", Threshold: "at least 5% and 50 ms", Evidence: []string{"e1"}}},
			Investigation: &incident.Investigation{Root: 1, Hops: []incident.Hop{{Target: incident.Target{Namespace: "shop", Pod: "web-1"}}, {Target: t}},
				Extent: &incident.Extent{Message: "7 of 40 pods, all on n1"}}},
		Plan: &incident.Plan{Runbook: "raise-cpu-limit", Report: "look at the limit", Steps: []incident.Step{{Action: "kubernetes.resize_cpu",
			Preview: &incident.Preview{Summary: "raise the CPU limit", Before: "0.3 CPU", After: "0.6 CPU"}}}},
		Decisions:    []incident.Decision{{Effect: incident.RequireApproval, Policy: "prod", Rule: "ask", Reason: "production"}},
		Approvals:    []incident.Approval{{Approve: true, By: "ada", At: at}},
		Executions:   []incident.Execution{{Before: "0.3 CPU", After: "0.6 CPU", Result: "applied"}},
		Verification: &incident.Verification{Reason: "throttled 43% before, 1% after"}}
}
