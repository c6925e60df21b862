package acceptance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// kmend is the program under test, built by TestMain.
var kmend string

func TestMain(m *testing.M) {
	throttled.RunIfAsked()
	os.Exit(server.Built(m, func(dir string) { kmend = filepath.Join(dir, "kmend") }, "kmend"))
}

// machine skips a test where it cannot run at all.
func machine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds and a real Alertmanager; `make test` runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("loads eBPF programs and makes cgroups, which needs root; `make test` runs it as root")
	}
}

// window is shorter than the default, to save time.
const window = time.Second

// serve starts kmend; the test ends with it stopped in good order.
func serve(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	machine(t)
	o := server.Options{Binary: kmend, Dir: t.TempDir(), DryRun: true, Window: window}
	if change != nil {
		change(&o)
	}
	s, err := server.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	stopLater(t, s)
	return s
}

// stopLater stops s at the end of the test, unless the test did.
func stopLater(t *testing.T, s *server.Server) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kmend logged:\n%s", s.Tail())
		}
		if s.Ended() != nil {
			return
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// acting is serve with dry run off and a policy with these rules.
func acting(t *testing.T, rules string, change func(*server.Options)) *server.Server {
	t.Helper()
	file := policy(t, rules)
	return serve(t, func(o *server.Options) {
		o.DryRun, o.Policies = false, []string{file}
		if change != nil {
			change(o)
		}
	})
}

const (
	allow = `
  - name: all
    decide: allow
    reason: it is a test`
	ask = `
  - name: ask
    decide: require_approval
    reason: a person decides`
)

func policy(t *testing.T, rules string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	text := "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata:\n  name: test\ndryRun: false\nrules:" + rules + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// alerting starts an Alertmanager whose receiver is s.
func alerting(t *testing.T, s *server.Server) *alertmanager.Server {
	t.Helper()
	return alertingEvery(t, s, 0)
}

// alertingEvery is alerting that sends what has not changed again, too.
func alertingEvery(t *testing.T, s *server.Server, repeat time.Duration) *alertmanager.Server {
	t.Helper()
	am, err := alertmanager.Start(t.Context(), alertmanager.Options{
		Dir: t.TempDir(), WebhookURL: s.WebhookURL(), TokenFile: s.WebhookTokenFile(),
		GroupInterval: 200 * time.Millisecond, RepeatInterval: repeat})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := am.Stop(); err != nil {
			t.Error(err)
		}
	})
	return am
}

// throttle starts a workload that its quota throttles.
func throttle(t *testing.T) *throttled.Workload { return start(t, throttled.DefaultOptions()) }

func start(t *testing.T, o throttled.Options) *throttled.Workload {
	t.Helper()
	machine(t)
	w, err := throttled.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// about is an alert about a cgroup that begins to fire now.
func about(path string) alertmanager.Alert {
	return alertmanager.Alert{
		Labels:   map[string]string{"alertname": "RequestsSlow", "severity": "page", "cgroup": path},
		StartsAt: time.Now(),
	}
}

func post(t *testing.T, am *alertmanager.Server, alerts ...alertmanager.Alert) {
	t.Helper()
	if err := am.Post(t.Context(), alerts...); err != nil {
		t.Fatal(err)
	}
}

// within is a context that says what was waited for.
func within(t *testing.T, d time.Duration, what string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("not within "+d.String()+": "+what))
	t.Cleanup(cancel)
	return ctx
}

// closed waits for the one incident there is to be closed.
func closed(t *testing.T, s *server.Server) incident.Incident {
	t.Helper()
	inc, err := s.Wait(within(t, 40*time.Second, "a closed incident"), func(i incident.Incident) bool { return i.Phase.Closed() })
	if err != nil {
		t.Fatal(err)
	}
	return inc
}

// inPhase waits for an incident in a phase.
func inPhase(t *testing.T, s *server.Server, p incident.Phase) incident.Incident {
	t.Helper()
	inc, err := s.Wait(within(t, 40*time.Second, "phase "+string(p)), func(i incident.Incident) bool { return i.Phase == p })
	if err != nil {
		t.Fatal(err)
	}
	return inc
}

// outcome checks how an incident ended and that it says why.
func outcome(t *testing.T, inc incident.Incident, want incident.Outcome, reason string) {
	t.Helper()
	if inc.Outcome != want || !strings.Contains(inc.Reason, reason) || inc.Reason == "" {
		t.Fatalf("incident ended as %q because %q; want %q with %q in the reason\ntimeline:\n%s", inc.Outcome, inc.Reason, want, reason, timeline(inc))
	}
	if inc.Phase != want.Phase() {
		t.Errorf("phase %q with outcome %q; want %q", inc.Phase, inc.Outcome, want.Phase())
	}
}

func timeline(inc incident.Incident) string {
	var b strings.Builder
	for _, e := range inc.Timeline {
		fmt.Fprintf(&b, "  %s %-18s %-12s %s %v\n", e.At.Format("05.000"), e.Phase, e.Kind, e.Message, e.Fields)
	}
	return b.String()
}

// quota is the kernel's, in CPUs.
func quota(t *testing.T, w *throttled.Workload) float64 {
	t.Helper()
	q, err := w.Quota()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// raised is what the shipped runbook makes of the workload's quota, once.
const factor = 2

// notThrottled asks the kernel for two seconds.
func notThrottled(t *testing.T, w *throttled.Workload) {
	t.Helper()
	before, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	after, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if g := after.Sub(before); g.Periods == 0 || g.Throttled > g.Periods/5 {
		t.Errorf("the kernel still throttles: %d of %d periods", g.Throttled, g.Periods)
	}
}
