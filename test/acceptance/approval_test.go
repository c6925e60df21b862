package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

func TestApproved(t *testing.T) {
	s, w := acting(t, ask, nil), throttle(t)
	post(t, alerting(t, s), about(w.Path))
	waiting := inPhase(t, s, incident.AwaitingApproval)
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Fatalf("nobody approved yet, and the quota is %v", q)
	}
	// Who may read may not approve, and another plan than this is not approved.
	if out, err := server.Run(t.Context(), kmend, "approve", waiting.ID, "--server", s.URL, "--token-file", s.ReadTokenFile()); err == nil {
		t.Errorf("the reading token approved: %s", out)
	}
	if out, err := s.Approve(t.Context(), waiting.ID, "--plan", strings.Repeat("0", 64)); err == nil {
		t.Errorf("a plan that was never shown was approved: %s", out)
	}
	if _, err := s.Approve(t.Context(), waiting.ID, "--plan", waiting.Plan.Digest()); err != nil {
		t.Fatal(err)
	}
	inc := closed(t, s)
	fixedOnce(t, inc, w)
	if inc.Approval == nil || inc.Approval.By != "tester" || !inc.Approval.Approve {
		t.Errorf("approval %+v", inc.Approval)
	}
	if out, err := s.Approve(t.Context(), waiting.ID); err == nil {
		t.Errorf("an incident that is closed was approved: %s", out)
	}
}

func TestApprovalDenied(t *testing.T) {
	s, w := acting(t, ask, nil), throttle(t)
	post(t, alerting(t, s), about(w.Path))
	waiting := inPhase(t, s, incident.AwaitingApproval)
	if _, err := s.Approve(t.Context(), waiting.ID, "--deny"); err != nil {
		t.Fatal(err)
	}
	outcome(t, closed(t, s), incident.Denied, "tester")
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("denied, and the quota is %v", q)
	}
}

func TestApprovalExpires(t *testing.T) {
	s := acting(t, ask, func(o *server.Options) { o.ApprovalExpiry = 10 * time.Second })
	w := throttle(t)
	post(t, alerting(t, s), about(w.Path))
	inc := closed(t, s)
	outcome(t, inc, incident.Expired, "nobody answered")
	if out, err := s.Approve(t.Context(), inc.ID); err == nil {
		t.Errorf("approved after its time: %s", out)
	}
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("expired, and the quota is %v", q)
	}
}

// The alert resolves while a person is asked: nothing is done any more.
func TestResolvedSupersedes(t *testing.T) {
	s, w := acting(t, ask, nil), throttle(t)
	am, alert := alerting(t, s), about(w.Path)
	post(t, am, alert)
	waiting := inPhase(t, s, incident.AwaitingApproval)
	if err := am.Resolve(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	outcome(t, closed(t, s), incident.Superseded, "resolved")
	if out, err := s.Approve(t.Context(), waiting.ID); err == nil {
		t.Errorf("approved after it was superseded: %s", out)
	}
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("superseded, and the quota is %v", q)
	}
	// The same alert fires anew: that is a new incident.
	time.Sleep(300 * time.Millisecond) // past Alertmanager's group_interval
	post(t, am, about(w.Path))
	if again := inPhase(t, s, incident.AwaitingApproval); again.ID == waiting.ID {
		t.Errorf("the closed incident %s went on", again.ID)
	}
}
