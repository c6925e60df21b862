package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/test/docs"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/prometheus"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// A test alert about a workload that is throttled leads a kmend that acts to the
// cause and the plan, and changes nothing.
func TestTestAlert(t *testing.T) {
	s, w := acting(t, allow, nil), throttle(t)
	out, err := s.Run(t.Context(), "test-alert", "--target", "cgroup/"+w.Path, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var inc incident.Incident
	if err := json.Unmarshal([]byte(out), &inc); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	outcome(t, inc, incident.DryRun, "")
	throttledBy(t, inc, w.Path)
	if !inc.Test || inc.Plan == nil || inc.Plan.Steps[0].Preview == nil || len(inc.Executions) != 0 {
		t.Errorf("a test %v with the plan %+v and the executions %+v", inc.Test, inc.Plan, inc.Executions)
	}
	if q := quota(t, w); q != throttled.DefaultOptions().Quota {
		t.Errorf("the test alert left a quota of %v", q)
	}
}

// What doctor says of a real Prometheus and a real Alertmanager, before and after
// kmend is away when an alert comes.
func TestDoctor(t *testing.T) {
	machine(t)
	place, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(o *server.Options) { o.More = fmt.Sprintf("prometheus: {url: \"http://%s\"}\n", place) })
	am, w := alerting(t, s), throttle(t)
	says := func(name string, status doctor.Status, text string) bool {
		t.Helper()
		out, _ := s.Run(t.Context(), "doctor", "--alertmanager", am.URL, "-o", "json") // its status is 1 where something is to be done
		var report doctor.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		for _, l := range report.Lines {
			if l.Name == name && l.Status == status && strings.Contains(l.Found, text) {
				return true
			}
		}
		t.Logf("no line %s %s with %q in %+v", name, status, text, report.Lines)
		return false
	}
	if !says("Prometheus", doctor.Todo, "connection refused") {
		t.Error("doctor does not say that Prometheus is away")
	}
	p, err := prometheus.StartWith(t.Context(), prometheus.Options{Dir: t.TempDir(), Addr: place, Target: place})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	if !says("Prometheus", doctor.OK, "") || !says("clock of Prometheus", doctor.OK, "") {
		t.Error("doctor does not say that Prometheus answers")
	}
	post(t, am, about(w.Path))
	closed(t, s)
	if !says("deliveries", doctor.OK, "none of 1 notifications to webhooks failed") || !says("receiver", doctor.OK, s.URL[len("http://"):]) {
		t.Error("doctor does not say that Alertmanager delivers")
	}
}

// The alert that the quick start has its reader send with amtool opens an incident about its unit.
func TestAmtool(t *testing.T) {
	page, err := docs.Open("../..", "docs/quick-start.md")
	if err != nil {
		t.Fatal(err)
	}
	deb, err := process.Unpacked("prometheus-alertmanager", "usr/bin/amtool")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, nil)
	am := alerting(t, s)
	line := strings.TrimSpace(page.Shown("amtool alert add"))
	c := exec.CommandContext(t.Context(), "bash", "-euc", strings.Replace(line, "http://127.0.0.1:9093", am.URL, 1))
	c.Env = append(os.Environ(), "PATH="+filepath.Join(deb, "usr/bin")+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil || line == "" {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := s.Wait(ctx, func(i incident.Incident) bool { return i.Target.Unit == "slow.service" && i.Outcome != "" }); err != nil {
		t.Error(err)
	}
}
