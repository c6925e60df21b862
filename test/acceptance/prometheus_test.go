package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/prometheus"
	"github.com/kmend/kmend/test/server"
	"github.com/kmend/kmend/test/throttled"
)

// exporter says of real workloads what they say of themselves: how long their
// requests take, and how many are slow.
type exporter struct {
	*testing.T
	workloads []*throttled.Workload
	mu        sync.Mutex
	all, slow int
}

const slowly = 20 * time.Millisecond

func (e *exporter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.workloads {
		l, err := one.Latency()
		if err != nil {
			continue // none served yet
		}
		fmt.Fprintf(w, "request_p99_seconds{cgroup=%q} %g\n", one.Path, l.P99.Seconds())
		e.all += l.Requests
		if l.P99 > slowly {
			e.slow += l.Requests
		}
	}
	fmt.Fprintf(w, "requests_total %d\nslow_requests_total %d\n", e.all, e.slow)
}

// hour is the past of the workload that is to be throttled: fast.
func hour(path string) string {
	var b strings.Builder
	b.WriteString("# TYPE request_p99_seconds gauge\n")
	for at := time.Now().Add(-70 * time.Minute); at.Before(time.Now().Add(-10 * time.Second)); at = at.Add(5 * time.Second) {
		fmt.Fprintf(&b, "request_p99_seconds{cgroup=%q} 0.004 %d\n", path, at.Unix())
	}
	return b.String() + "# EOF\n"
}

// From a rule of a real Prometheus, which scrapes real workloads, through a real
// Alertmanager to a diagnosis, with what Prometheus says of the alert.
func TestAlertOfARealPrometheus(t *testing.T) {
	machine(t)
	sick := throttle(t)
	calm := throttled.Options{Threads: 1, Work: time.Millisecond, Pause: 50 * time.Millisecond, First: true}
	pages := httptest.NewServer(&exporter{T: t, workloads: []*throttled.Workload{sick, start(t, calm), start(t, calm)}})
	defer pages.Close()

	// kmend has to know where Prometheus is, which has to know where Alertmanager is,
	// which has to know where kmend is.
	place, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(o *server.Options) {
		o.More = fmt.Sprintf(`prometheus:
  url: "http://%s"
slos:
  - name: shop-fast
    namespace: shop
    workload: Deployment/shop
    objective: 0.9
    requests: "sum(increase(requests_total[$window]))"
    errors: "sum(increase(slow_requests_total[$window]))"
`, place)
	})
	am := alerting(t, s)
	fire(t, place, pages, am, sick.Path)

	inc := closed(t, s)
	outcome(t, inc, incident.DryRun, "")
	throttledBy(t, inc, sick.Path)
	v := inc.Diagnosis.Investigation
	if v == nil {
		t.Fatal("no investigation")
	}
	ids := map[string]bool{}
	for _, e := range v.Evidence {
		ids[e.ID] = true
	}
	for kind, want := range map[string]string{
		"alert":     `alert "RequestsSlow": max_over_time(request_p99_seconds[10s]) is 0.`,
		"baseline":  `in the 1h before it was 0.004 (the median of `,
		"outlier":   ` is an outlier among its 2 siblings: 0.`,
		"burn_rate": `SLO shop-fast (90%) burns its error budget: `,
	} {
		n := slices.IndexFunc(v.Observations, func(o incident.Observation) bool { return o.Kind == kind })
		if n < 0 || !strings.Contains(v.Observations[n].Message, want) {
			t.Errorf("%s: want %q in %+v", kind, want, v.Observations)
			continue
		}
		for _, id := range v.Observations[n].Evidence {
			if !ids[id] {
				t.Errorf("%s cites %s, which is not among the evidence", kind, id)
			}
		}
	}
	if !slices.Contains(v.Sources, incident.Source{Name: "prometheus", Status: incident.SourceOK}) ||
		!slices.ContainsFunc(v.Sources, func(s incident.Source) bool {
			return s.Name == "kubernetes" && s.Status == incident.SourceAbsent
		}) {
		t.Errorf("sources %+v", v.Sources)
	}
	report, err := s.Run(t.Context(), "incidents", "show", inc.ID)
	if err != nil || !strings.Contains(report, "in the 1h before it was 0.004") || !strings.Contains(report, "not configured: ") {
		t.Errorf("the report lacks what Prometheus says: %v\n%s", err, report)
	}
}

// fire starts a Prometheus that scrapes the workloads, remembers the past of one of them, and
// has a rule.
func fire(t *testing.T, addr string, pages *httptest.Server, am *alertmanager.Server, path string) {
	t.Helper()
	p, err := prometheus.StartWith(t.Context(), prometheus.Options{
		Dir: t.TempDir(), Addr: addr, Every: time.Second, Target: pages.Listener.Addr().String(), Alertmanager: strings.TrimPrefix(am.URL, "http://"), History: hour(path),
		Rules: `
groups:
  - name: shop
    rules:
      - alert: RequestsSlow
        expr: max_over_time(request_p99_seconds[10s]) > 0.02
        labels: {severity: page, slo: shop-fast}
`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", p.Tail())
		}
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
}
