package acceptance

import (
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// kmend is killed in the middle and started again: the alert is not lost, and
// the quota is raised once. Alertmanager has had its 200 and does not send again.
func TestKilledAndStartedAgain(t *testing.T) {
	phase := func(p incident.Phase) func(*testing.T, *server.Server, *throttled.Workload) {
		return func(t *testing.T, s *server.Server, _ *throttled.Workload) { inPhase(t, s, p) }
	}
	cases := []struct {
		name  string
		rules string
		until func(*testing.T, *server.Server, *throttled.Workload)
	}{
		{"just accepted", allow, func(t *testing.T, s *server.Server, _ *throttled.Workload) {
			if _, err := s.Wait(within(t, 20*time.Second, "an incident"), func(incident.Incident) bool { return true }); err != nil {
				t.Fatal(err)
			}
		}},
		{"diagnosing", allow, phase(incident.Diagnosing)},
		{"awaiting approval", ask, phase(incident.AwaitingApproval)},
		{"executing", allow, quotaChanged},
		{"verifying", allow, phase(incident.Verifying)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, w := acting(t, c.rules, nil), throttle(t)
			post(t, alerting(t, s), about(w.Path))
			c.until(t, s, w)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			again, err := s.Again(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			stopLater(t, again)
			if c.rules == ask {
				if _, err := again.Approve(t.Context(), inPhase(t, again, incident.AwaitingApproval).ID); err != nil {
					t.Fatal(err)
				}
			}
			fixedOnce(t, closed(t, again), w)
			if all, err := again.Incidents(t.Context()); err != nil || len(all) != 1 {
				t.Errorf("%d incidents, %v; want one", len(all), err)
			}
		})
	}
}

// quotaChanged returns at the moment when the kernel has the new quota: the act
// is done, and its record is probably not yet on disk.
func quotaChanged(t *testing.T, _ *server.Server, w *throttled.Workload) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); quota(t, w) == throttled.DefaultOptions().Quota; {
		if time.Now().After(end) {
			t.Fatal("the quota was not raised within 20 s")
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// SIGTERM while it measures: it stops in time, and goes on when it is started again.
func TestStoppedAndStartedAgain(t *testing.T) {
	s, w := acting(t, allow, nil), throttle(t)
	post(t, alerting(t, s), about(w.Path))
	inPhase(t, s, incident.Diagnosing)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Again(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	stopLater(t, again)
	fixedOnce(t, closed(t, again), w)
}
