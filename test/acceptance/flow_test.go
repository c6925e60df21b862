package acceptance

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// Out of the box: diagnosed, planned, shown, and nothing changed.
func TestDryRunIsTheDefault(t *testing.T) {
	s, w := serve(t, nil), throttle(t)
	post(t, alerting(t, s), about(w.Path))
	inc := closed(t, s)
	outcome(t, inc, incident.DryRun, "")
	throttledBy(t, inc, w.Path)
	if inc.Plan == nil || len(inc.Plan.Steps) != 1 || inc.Plan.Steps[0].Preview == nil {
		t.Fatalf("no plan with a preview: %+v", inc.Plan)
	}
	if p := inc.Plan.Steps[0].Preview; !strings.Contains(p.Before, "0.2") || !strings.Contains(p.After, "0.4") {
		t.Errorf("preview from %q to %q; want from 0.2 to 0.4 CPU", p.Before, p.After)
	}
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("the dry run left a quota of %v", q)
	}
	if len(inc.Executions) != 0 {
		t.Errorf("executions of a dry run: %+v", inc.Executions)
	}
	report, err := s.Run(t.Context(), "incidents", "show", inc.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{inc.ID, "CPU throttled", "dry_run", w.Path} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
}

// throttledBy checks the diagnosis of a throttled workload: the cause, its
// figures against the evidence, and that the ledger adds up.
func throttledBy(t *testing.T, inc incident.Incident, path string) {
	t.Helper()
	if inc.Diagnosis == nil {
		t.Fatalf("no diagnosis; timeline:\n%s", timeline(inc))
	}
	d := *inc.Diagnosis
	f, ok := d.RootCause()
	if !ok || f.Cause != incident.CPUThrottled || f.Share <= 0 || f.Share > 1 {
		t.Fatalf("root cause %+v, verdict %s", f, d.Verdict)
	}
	for _, want := range []string{"CPU throttled ", " of ", "quota 0.2 CPU", " periods"} {
		if !strings.Contains(f.Message, want) {
			t.Errorf("message %q lacks %q", f.Message, want)
		}
	}
	known := map[string]bool{}
	for _, e := range d.Evidence {
		known[e.ID] = true
	}
	for _, id := range f.Evidence {
		if !known[id] {
			t.Errorf("the finding cites %s, which is not among the evidence", id)
		}
	}
	sum := 0.0
	for _, ms := range d.Ledger.States {
		sum += ms
	}
	if off := math.Abs(sum-d.Ledger.WallMS) / d.Ledger.WallMS; off > 0.01 || d.Ledger.Threads < 4 {
		t.Errorf("the ledger of %d threads has %.1f of %.1f ms", d.Ledger.Threads, sum, d.Ledger.WallMS)
	}
	if d.Target.Cgroup != path {
		t.Errorf("diagnosed %q, not %q", d.Target.Cgroup, path)
	}
}

// Allowed: the quota is raised, measured again, and the kernel agrees.
func TestFixed(t *testing.T) {
	s, w := acting(t, allow, nil), throttle(t)
	sent := time.Now()
	post(t, alerting(t, s), about(w.Path))
	inc := closed(t, s)
	t.Logf("alert to verified fix: %.2f s, of which two windows of %s", time.Since(sent).Seconds(), window)
	fixedOnce(t, inc, w)
}

// Twice the quota is still far too little: measured again, found not to help,
// put back, and a person is told.
func TestUndone(t *testing.T) {
	o := throttled.Busy(4, 0.1)
	o.First = true // whatever else runs here, it is the quota that they wait for
	s, w := acting(t, allow, nil), start(t, o)
	post(t, alerting(t, s), about(w.Path))
	inc := closed(t, s)
	outcome(t, inc, incident.Undone, "it was undone")
	if inc.Phase != incident.Escalated {
		t.Errorf("phase %q; want %q", inc.Phase, incident.Escalated)
	}
	if v := inc.Verification; v == nil || v.Better || v.After <= v.Before/2 {
		t.Errorf("verification %+v; want one that is not better", v)
	}
	raised, undone := false, false
	for _, e := range inc.Timeline {
		raised = raised || e.Kind == "applied"
		undone = undone || raised && e.Kind == "undone"
	}
	if !raised || !undone {
		t.Errorf("raised %v, undone after that %v; timeline:\n%s", raised, undone, timeline(inc))
	}
	if q := quota(t, w); q != o.Quota {
		t.Errorf("undone, and the quota is %v; it was %v", q, o.Quota)
	}
}

// fixedOnce checks that the quota was raised once, and that it helped.
func fixedOnce(t *testing.T, inc incident.Incident, w *throttled.Workload) {
	t.Helper()
	outcome(t, inc, incident.Fixed, "")
	if got, want := quota(t, w), factor*throttled.DefaultOptions().Quota; math.Abs(got-want) > 0.001 {
		t.Errorf("quota %v CPU; want %v: raised exactly once", got, want)
	}
	if len(inc.Executions) != 1 {
		t.Errorf("%d executions: %+v", len(inc.Executions), inc.Executions)
	}
	if v := inc.Verification; v == nil || !v.Better || v.After >= v.Before {
		t.Errorf("verification %+v", v)
	}
	for i, e := range inc.Timeline {
		if e.Seq != i+1 {
			t.Errorf("event %d of the timeline has seq %d", i+1, e.Seq)
		}
	}
	notThrottled(t, w)
}

// Two Alertmanagers that do not know of one another send the same group, again
// and again: one incident.
func TestDuplicatesOfTwoAlertmanagers(t *testing.T) {
	s, w := acting(t, ask, nil), throttle(t)
	alert := about(w.Path)
	a, b := alertingEvery(t, s, 200*time.Millisecond), alertingEvery(t, s, 200*time.Millisecond)
	post(t, a, alert)
	post(t, b, alert)
	inPhase(t, s, incident.AwaitingApproval)
	ctx := within(t, 20*time.Second, "10 deliveries on the incident")
	inc, err := s.Wait(ctx, func(i incident.Incident) bool { return i.Deliveries >= 10 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Approve(t.Context(), inc.ID); err != nil {
		t.Fatal(err)
	}
	fixedOnce(t, closed(t, s), w)
	if all, err := s.Incidents(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d incidents, %v; want one", len(all), err)
	}
}

// What the alert says decides nothing: one that names nothing is an incident
// with that reason.
func TestNoTarget(t *testing.T) {
	s := serve(t, nil)
	alert := about("")
	delete(alert.Labels, "cgroup")
	post(t, alerting(t, s), alert)
	outcome(t, closed(t, s), incident.NoTarget, "label")
}

func TestCgroupThatIsNotThere(t *testing.T) {
	s, w := serve(t, nil), throttle(t)
	post(t, alerting(t, s), about(w.Path+"-gone"))
	outcome(t, closed(t, s), incident.OutcomeInconclusive, "-gone")
}

// Where no machine can help, a person is told what to do.
func TestReportOnly(t *testing.T) {
	s, w := serve(t, nil), start(t, throttled.Busy(1, 0)) // busy or, on a busy machine, saturated: a report for both
	post(t, alerting(t, s), about(w.Path))
	inc := closed(t, s)
	outcome(t, inc, incident.Reported, "report-cpu-")
	if inc.Plan == nil || len(inc.Plan.Steps) > 0 || !strings.Contains(inc.Plan.Report, "1. ") {
		t.Errorf("the plan is %+v", inc.Plan)
	}
}

func TestDenied(t *testing.T) {
	s := acting(t, `
  - name: never kube-system
    when: alert.labels["namespace"] == "kube-system"
    decide: deny
    reason: kube-system runs the cluster itself`+allow, nil)
	w := throttle(t)
	alert := about(w.Path)
	alert.Labels["namespace"] = "kube-system"
	post(t, alerting(t, s), alert)
	inc := closed(t, s)
	outcome(t, inc, incident.Denied, "kube-system runs the cluster itself")
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("denied, and the quota is %v", q)
	}
}

// The global switch holds against a policy that allows.
func TestGlobalDryRunWins(t *testing.T) {
	s := acting(t, allow, func(o *server.Options) { o.DryRun = true })
	w := throttle(t)
	post(t, alerting(t, s), about(w.Path))
	outcome(t, closed(t, s), incident.DryRun, "")
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("dry run, and the quota is %v", q)
	}
}
