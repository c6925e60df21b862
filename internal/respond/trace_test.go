package respond

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/internal/tracing"
	"github.com/kmend/kmend/test/otlp"
)

// traceTo has the flow traced to a receiver; done sends what is left.
func traceTo(t *testing.T, s *otlp.Server) (change func(*Options), done func()) {
	t.Helper()
	o := tracing.DefaultOptions()
	o.Endpoint, o.Metrics, o.Batch = s.Endpoint(), tracing.NewMetrics(prometheus.NewRegistry()), 10*time.Millisecond
	tr, err := tracing.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Tracer = tr.Tracer() }, func() { tr.Stop(t.Context()) }
}

// One span a stage, all children of the one of the incident, in the incident's trace,
// and nothing in them that somebody else has written.
func TestTraced(t *testing.T) {
	t.Parallel()
	s := otlp.Start()
	defer s.Close()
	change, done := traceTo(t, s)
	const hostile = "hush-hush"
	b := start(t, &stages{diagnose: nil, decide: askPerson}, change)
	n := firing("/a")
	n.Alerts[0].Annotations = map[string]string{"summary": hostile}
	b.ingest(n)
	inc := b.awaiting()
	if err := b.Approve(t.Context(), incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: true, By: "ada " + hostile, Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	b.reported()
	b.stop()
	done()
	var names []string
	whole := ""
	for _, sp := range s.Spans() {
		if sp.Name == "incident" {
			whole = sp.ID
			if sp.Parent != "" || sp.Attributes["kmend.outcome"] != "fixed" {
				t.Errorf("%+v", sp)
			}
		}
	}
	for _, sp := range s.Spans() {
		if sp.Trace != tracing.TraceID(inc.ID).String() || sp.Attributes["kmend.incident.id"] != inc.ID {
			t.Errorf("%+v is of another trace, or does not name its incident", sp)
		}
		if sp.Name == "incident" {
			continue
		}
		names = append(names, sp.Name)
		if sp.Parent != whole || sp.Attributes["kmend.stage"] != sp.Name || sp.Failed {
			t.Errorf("%+v; want a child of %s", sp, whole)
		}
	}
	if want := []string{"diagnose", "claim", "plan", "guard", "approve", "execute", "verify", "close", "report"}; !slices.Equal(names, want) {
		t.Errorf("spans of %v, want %v", names, want)
	}
	bodies, _ := s.Requests()
	for _, body := range bodies {
		if strings.Contains(string(body), hostile) {
			t.Error("a span says what a stranger wrote")
		}
	}
}

// After a stop in the middle the stages go on in the same trace, and none is there twice.
func TestTracedOverARestart(t *testing.T) {
	t.Parallel()
	s := otlp.Start()
	defer s.Close()
	path := filepath.Join(t.TempDir(), "kmend.db")
	var id string
	for n := range 2 {
		db, err := store.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		change, done := traceTo(t, s)
		b := startOn(t, db, &stages{decide: askPerson}, change)
		if n == 0 {
			b.ingest(firing("/a"))
		}
		inc := b.awaiting()
		id = inc.ID
		if n == 1 {
			if err := b.Approve(t.Context(), incident.Approval{Incident: id, Plan: inc.Plan.Digest(), Approve: true, By: "ada", Name: "ada"}); err != nil {
				t.Fatal(err)
			}
			b.reported()
		}
		b.stop()
		done()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	times := map[string]int{}
	for _, sp := range s.Spans() {
		if sp.Trace != tracing.TraceID(id).String() {
			t.Errorf("%+v is of another trace", sp)
		}
		if !sp.Failed {
			times[sp.Name]++
		}
	}
	for name, want := range map[string]int{"incident": 2, "diagnose": 1, "plan": 1, "guard": 1, "approve": 1, "execute": 1, "verify": 1, "report": 1} {
		if times[name] != want {
			t.Errorf("%d spans %s, want %d: %v", times[name], name, want, times)
		}
	}
}
