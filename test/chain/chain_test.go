package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/jaeger"
	"github.com/kmend/kmend/test/server"
)

// kmend is the program under test, built by TestMain.
var kmend string

func TestMain(m *testing.M) {
	RunIfAsked()
	os.Exit(server.Built(m, func(dir string) { kmend = filepath.Join(dir, "kmend") }, "kmend"))
}

// bed is a chain, a kmend and an Alertmanager that notifies it.
type bed struct {
	*Chain
	jaeger *jaeger.Server // nil: not traced
	kmend  *server.Server
	am     *alertmanager.Server
}

// start starts all of it; with a Jaeger, the services are traced to it and kmend
// asks it.
func newBed(t *testing.T, traced bool) *bed {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds and real servers; `make test` runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("loads eBPF programs and makes cgroups, which needs root; `make test` runs it as root")
	}
	b := &bed{}
	otlp, config := "", ""
	if traced {
		j, err := jaeger.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closed(t, j.Stop()) })
		b.jaeger, otlp = j, j.OTLP
		// The alert says when it began to be slow: what is before that is the baseline.
		config = fmt.Sprintf("traces:\n  jaeger:\n    url: %q\n  window: 0s\n", j.URL)
	}
	c, err := Start(t.Context(), otlp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, c.Close()) })
	s, err := server.Start(t.Context(), server.Options{Binary: kmend, Dir: t.TempDir(), DryRun: true, More: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kmend logged:\n%s", s.Tail())
		}
		closed(t, s.Stop())
	})
	am, err := alertmanager.Start(t.Context(), alertmanager.Options{Dir: t.TempDir(), WebhookURL: s.WebhookURL(), TokenFile: s.WebhookTokenFile()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, am.Stop()) })
	b.Chain, b.kmend, b.am = c, s, am
	return b
}

func closed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// requests are answered; how long the last took is logged.
func (b *bed) requests(t *testing.T, n int64, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	defer cancel()
	took, err := b.Served(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: a request to front takes %s", what, took.Round(time.Millisecond))
}

// slow gives stock a quota that is too small, and waits until the clients feel it,
// and where they are traced Jaeger knows it. It says when that began.
func (b *bed) slow(t *testing.T) (began time.Time) {
	t.Helper()
	began = time.Now()
	if err := b.Services[2].SetQuota(quota); err != nil {
		t.Fatal(err)
	}
	b.requests(t, 3*clients, "throttled")
	if b.jaeger == nil {
		return began
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	defer cancel()
	err := b.jaeger.WaitFor(ctx, func(ctx context.Context) error {
		n, err := b.jaeger.Slow(ctx, "stock", began, 50*time.Millisecond)
		if err == nil && n < 3 {
			err = fmt.Errorf("%d slow traces of stock", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return began
}

// alert fires one about front, and gives the incident once it is diagnosed, and how
// long that took from the alert.
func (b *bed) alert(t *testing.T, name string, startsAt time.Time) (incident.Incident, time.Duration) {
	t.Helper()
	began := time.Now()
	err := b.am.Post(t.Context(), alertmanager.Alert{StartsAt: startsAt, Labels: map[string]string{
		"alertname": name, "severity": "page", "service": "front", "cgroup": b.Services[0].Path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	defer cancel()
	inc, err := b.kmend.Wait(ctx, func(i incident.Incident) bool { return i.Phase.Closed() && i.Alerts[0].Name() == name })
	if err != nil {
		t.Fatal(err)
	}
	var diagnosed time.Time
	for _, e := range inc.Timeline {
		if e.Kind == string(incident.Confirmed) || e.Kind == string(incident.Clean) || e.Kind == string(incident.Inconclusive) {
			diagnosed = e.At
		}
	}
	if diagnosed.IsZero() || inc.Diagnosis == nil || inc.Diagnosis.Investigation == nil {
		t.Fatalf("no diagnosis: outcome %s (%s), %+v", inc.Outcome, inc.Reason, inc.Timeline)
	}
	text, err := b.kmend.Run(ctx, "incidents", "show", inc.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	return inc, diagnosed.Sub(began)
}

// limit is what an alert on the first service may take to the confirmed cause in
// the third, all windows included.
const limit = 12 * time.Second

// landed checks that the diagnosis is about stock, and how kmend came there.
func (b *bed) landed(t *testing.T, inc incident.Incident, took time.Duration, via incident.Via) {
	t.Helper()
	stock := b.Services[2]
	v, d := inc.Diagnosis.Investigation, inc.Diagnosis
	root, ok := v.RootHop()
	if f, confirmed := d.RootCause(); !ok || !confirmed || f.Cause != incident.CPUThrottled || d.Target.Cgroup != stock.Path || len(v.Hops) != 3 {
		t.Fatalf("%s %+v\nabout %+v\nby %+v; want cpu.throttled of %s as the third hop", d.Verdict, d.Findings, d.Target, v.Hops, stock.Path)
	}
	if root.Via != via || v.Hops[1].Via != via || v.Root != 2 || root.Target.Cgroup != stock.Path && root.Target.PID != stock.PID() {
		t.Errorf("the way is %+v; want each hop by %s, to process %d", v.Hops, via, stock.PID())
	}
	if !strings.Contains(v.Path(), "stock (cpu.throttled)") {
		t.Errorf("the path is %q", v.Path())
	}
	t.Logf("MEASURED: alert on front to the confirmed cause in stock, by %s: %.2f s, two or three windows of 3 s included; path %s", via, took.Seconds(), v.Path())
	if took > limit {
		t.Errorf("it took %s, at most %s are allowed", took, limit)
	}
}

// The third service's quota makes the first slow: traces lead there.
func TestByTraces(t *testing.T) {
	b := newBed(t, true)
	b.requests(t, 60, "before")
	inc, took := b.alert(t, "HighLatency", b.slow(t))
	b.landed(t, inc, took, incident.ViaTrace)
	v := inc.Diagnosis.Investigation
	if v.Path() != "front -> cart -> stock (cpu.throttled)" {
		t.Errorf("the path is %q", v.Path())
	}
	// What the hop cites is there, and a trace among it.
	cited := v.Hops[2].Evidence
	if !slices.ContainsFunc(v.Evidence, func(e incident.Evidence) bool {
		return slices.Contains(cited, e.ID) && e.Metric == "trace" && len(e.Subject) == 32
	}) {
		t.Errorf("evidence %q of %+v names no trace", cited, v.Evidence)
	}
}

// The same without traces: the sockets lead there.
func TestBySockets(t *testing.T) {
	b := newBed(t, false)
	inc, took := b.alert(t, "HighLatency", b.slow(t))
	b.landed(t, inc, took, incident.ViaSocket)
}

// A chain without a fault confirms nothing, with traces and without.
func TestHealthy(t *testing.T) {
	for name, traced := range map[string]bool{"traces": true, "sockets": false} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, traced)
			b.requests(t, 60, "healthy")
			for try := 1; ; try++ {
				inc, _ := b.alert(t, fmt.Sprintf("Healthy%d", try), time.Now())
				f, confirmed := inc.Diagnosis.RootCause()
				if !confirmed {
					return
				}
				// Others on this machine may hold its CPUs for a while, which is a fault. It is
				// that of the first service: nothing of the chain is to blame.
				v := inc.Diagnosis.Investigation
				if busy := f.Cause == incident.CPUSaturated || f.Cause == incident.CPUSteal; !busy || v.Root != 0 || try == 5 {
					t.Fatalf("confirmed: %+v by %+v", inc.Diagnosis.Findings, v.Hops)
				}
				t.Logf("once more, the machine is busy: %s", f.Message)
			}
		})
	}
}
