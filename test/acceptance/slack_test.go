package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/slack"
	"github.com/kmend/kmend/test/throttled"
)

// slackYAML writes the secrets and returns the configuration for a Slack.
func slackYAML(t *testing.T, s *slack.Server, way string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"bot": slack.BotToken, "signing": slack.SigningSecret, "app": slack.AppToken} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := map[string]string{"signingSecretFile": "signing", "appTokenFile": "app"}[way]
	return fmt.Sprintf("slack: {botTokenFile: %q, %s: %q, channel: '#kmend', apiURL: %q, hooksURL: %q}\n",
		filepath.Join(dir, "bot"), way, filepath.Join(dir, file), s.APIURL(), s.HooksURL())
}

func startSlack(t *testing.T) *slack.Server {
	t.Helper()
	machine(t)
	s := slack.Start(slack.Options{Interval: time.Second, Groups: map[string][]string{"S1": {"U2"}}})
	t.Cleanup(func() {
		s.Close()
		for _, p := range s.Problems() {
			t.Error(p)
		}
		if n := s.Limited(); n > 0 {
			t.Errorf("%d calls came too soon for Slack", n)
		}
	})
	return s
}

// twoPersons is a rule that asks, and who is asked.
const twoPersons = ask + `
approval: {slackGroups: [S1], approvers: [tester], persons: 2}`

// saying waits for the one message to say something.
func saying(t *testing.T, s *slack.Server, want string) slack.Message {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := s.Messages(); len(m) == 1 && strings.Contains(slack.Says(m[0].Blocks), want) {
			return m[0]
		}
	}
	t.Fatalf("no message says %q: %+v", want, s.Messages())
	return slack.Message{}
}

// The program, a real Alertmanager, a throttled workload: one person clicks, one
// runs kmend approve, and both are needed.
func TestSlackAndTokenApprove(t *testing.T) {
	sl := startSlack(t)
	s := acting(t, twoPersons, func(o *server.Options) { o.More = slackYAML(t, sl, "signingSecretFile") })
	sl.Serve(s.URL + "/webhook/slack/interactive")
	w := throttle(t)
	post(t, alerting(t, s), about(w.Path))
	waiting := inPhase(t, s, incident.AwaitingApproval)
	m := saying(t, sl, "0 of 2 persons said yes")
	for _, user := range []string{"U9", "U2"} { // U9 may not
		if status, err := sl.Click(t.Context(), m, "kmend.approve", user); status != 200 || err != nil {
			t.Fatalf("%s: %d, %v", user, status, err)
		}
	}
	saying(t, sl, "1 of 2 persons said yes")
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Fatalf("one of two approved, and the quota is %v", q)
	}
	if out, err := s.Approve(t.Context(), waiting.ID); err != nil || !strings.Contains(out, "approved by tester") {
		t.Fatalf("kmend approve: %q, %v", out, err)
	}
	inc := closed(t, s)
	fixedOnce(t, inc, w)
	last := saying(t, sl, "Fixed:")
	if ids, _ := last.Buttons(); len(ids) > 0 || !strings.Contains(slack.Says(last.Blocks), "Approved by u2 (Slack U2)") || !strings.Contains(slack.Says(last.Blocks), "Approved by tester") {
		t.Errorf("the last message has buttons %v and says:\n%s", ids, slack.Says(last.Blocks))
	}
	if e := sl.Ephemerals(); len(e) != 1 || e[0].User != "U9" || !strings.Contains(e[0].Text, "not one of those") {
		t.Errorf("told %+v", e)
	}
	for _, secret := range []string{slack.BotToken, slack.SigningSecret} {
		if strings.Contains(s.Tail(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// The same without an ingress; kmend deny is as good as a click.
func TestSlackSocketModeDenies(t *testing.T) {
	sl := startSlack(t)
	s := acting(t, twoPersons, func(o *server.Options) { o.More = slackYAML(t, sl, "appTokenFile") })
	w := throttle(t)
	post(t, alerting(t, s), about(w.Path))
	waiting := inPhase(t, s, incident.AwaitingApproval)
	m := saying(t, sl, "0 of 2 persons said yes")
	if !sl.Connected() {
		t.Fatal("kmend is not connected")
	}
	if err := sl.ClickSocket(m, "kmend.approve", "U2"); err != nil {
		t.Fatal(err)
	}
	saying(t, sl, "1 of 2 persons said yes")
	if out, err := server.Run(t.Context(), kmend, "deny", waiting.ID, "--server", s.URL, "--token-file", s.ApproverTokenFile()); err != nil || !strings.Contains(out, "denied by tester") {
		t.Fatalf("kmend deny: %q, %v", out, err)
	}
	outcome(t, closed(t, s), incident.Denied, "rejected by tester")
	saying(t, sl, "Denied by tester")
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("denied, and the quota is %v", q)
	}
}
