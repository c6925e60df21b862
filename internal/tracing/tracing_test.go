package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/test/otlp"
)

const token = "otlp-token-0123456789"

// receiver is a receiver with a Tracing that sends to it.
func receiver(t *testing.T, log io.Writer, change func(*Options)) (*otlp.Server, *Tracing) {
	t.Helper()
	s := otlp.Start()
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("Authorization: Bearer "+token+"\n\nX-Scope: kmend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.Endpoint, o.HeadersFile, o.Version, o.Batch, o.Timeout = s.Endpoint(), file, "1.2.3", 10*time.Millisecond, time.Second
	o.Logger, o.Metrics = slog.New(slog.NewTextHandler(log, nil)), NewMetrics(prometheus.NewRegistry())
	if change != nil {
		change(&o)
	}
	tr, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, tr
}

// The spans of an incident are in the trace that its id says, in every process; the
// headers are sent.
func TestOneTraceAnIncident(t *testing.T) {
	var log bytes.Buffer
	s, one := receiver(t, &log, nil)
	_, two := receiver(t, &log, func(o *Options) { o.Endpoint = s.Endpoint() })
	for _, tr := range []*Tracing{one, two} {
		ctx, whole := tr.Tracer().Start(InTraceOf(t.Context(), "i1"), "incident")
		_, stage := tr.Tracer().Start(ctx, "diagnose")
		stage.End()
		whole.End()
		_, other := tr.Tracer().Start(t.Context(), "webhook")
		other.End()
		tr.Stop(t.Context())
	}
	spans := s.Spans()
	if len(spans) != 6 {
		t.Fatalf("%d spans, want 6: %+v", len(spans), spans)
	}
	roots := map[string]bool{}
	for _, sp := range spans {
		switch want := TraceID("i1").String(); {
		case sp.Name == "webhook" && (sp.Trace == want || sp.Parent != ""):
			t.Errorf("%+v is in the incident's trace", sp)
		case sp.Name == "incident" && (sp.Trace != want || sp.Parent != ""):
			t.Errorf("%+v; want a root of trace %s", sp, want)
		case sp.Name == "incident":
			roots[sp.ID] = true
		}
		if sp.Resource["service.name"] != "kmend" || sp.Resource["service.version"] != "1.2.3" {
			t.Errorf("resource %v", sp.Resource)
		}
	}
	for _, sp := range spans {
		if sp.Name == "diagnose" && !roots[sp.Parent] {
			t.Errorf("%+v is nobody's child", sp)
		}
	}
	_, headers := s.Requests()
	if h := headers[0]; h.Get("Authorization") != "Bearer "+token || h.Get("X-Scope") != "kmend" {
		t.Errorf("headers %v", h)
	}
	if len(s.Problems()) > 0 || log.Len() > 0 {
		t.Errorf("%v\n%s", s.Problems(), log.String())
	}
}

// A receiver that hangs holds up neither a span nor the stop, and what does not fit is
// dropped.
func TestReceiverHangs(t *testing.T) {
	var log bytes.Buffer
	s, tr := receiver(t, &log, func(o *Options) { o.Timeout, o.Queue = time.Minute, 100 })
	s.Hang()
	began := time.Now()
	for range 10_000 {
		_, sp := tr.Tracer().Start(t.Context(), "stage")
		sp.End()
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("10,000 spans took %s", took)
	}
	began = time.Now()
	tr.Stop(t.Context())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// Whatever a receiver answers is one line in the log, without the token and bounded.
func TestReceiverRefuses(t *testing.T) {
	for name, broken := range map[string]func(w http.ResponseWriter) bool{
		"401": func(w http.ResponseWriter) bool {
			http.Error(w, "no: Bearer "+token, http.StatusUnauthorized)
			return true
		},
		"a page": func(w http.ResponseWriter) bool {
			http.Error(w, strings.Repeat("Bearer "+token+" ", 10_000), http.StatusBadRequest)
			return true
		},
		"redirect": func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/x")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s, tr := receiver(t, &log, nil)
			s.Break(broken)
			_, sp := tr.Tracer().Start(t.Context(), "stage")
			sp.End()
			tr.Stop(t.Context())
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "spans are lost") || strings.Contains(text, token) || len(text) > 1500 {
				t.Errorf("the log says %q", text)
			}
		})
	}
}

// Who samples none sends none, and a half of the incidents is a half.
func TestSample(t *testing.T) {
	for share, want := range map[float64][2]int{0: {0, 0}, .5: {60, 140}, 1: {200, 200}} {
		var m *Metrics
		s, tr := receiver(t, io.Discard, func(o *Options) { o.Sample, m = share, o.Metrics })
		for n := range 200 {
			ctx, whole := tr.Tracer().Start(InTraceOf(t.Context(), fmt.Sprint("i", n)), "incident")
			_, sp := tr.Tracer().Start(ctx, "stage")
			sp.End()
			whole.End()
		}
		tr.Stop(t.Context())
		got := len(s.Spans())
		if got < 2*want[0] || got > 2*want[1] || got%2 != 0 || testutil.ToFloat64(m.spans.WithLabelValues("sent")) != float64(got) {
			t.Errorf("sample %v: %d spans of 400", share, got)
		}
	}
}

// A log line about an incident says which trace it is.
func TestHandler(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(Handler(slog.NewTextHandler(&b, nil)))
	log.Info("closed", "incident", "i1", "outcome", "fixed")
	log.With("part", "x").Info("started")
	want := "trace_id=" + TraceID("i1").String()
	first, second, _ := strings.Cut(b.String(), "\n")
	if !strings.Contains(first, want) || strings.Contains(second, "trace_id") || !strings.Contains(second, "part=x") {
		t.Errorf("%s", b.String())
	}
}

func TestHeaders(t *testing.T) {
	for text, want := range map[string]string{"": "is empty", "secretvalue": ":1: want NAME: VALUE", "a: b\n: secretvalue": ":2: want NAME: VALUE", "a b: secretvalue": ":1: want"} {
		file := filepath.Join(t.TempDir(), "headers")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Headers(file); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secretvalue") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	for _, change := range []func(*Options){func(o *Options) { o.Sample = 2 }, func(o *Options) { o.Timeout = 0 }, func(o *Options) { o.Metrics = nil }, func(o *Options) { o.HeadersFile = "/nonexistent" }} {
		o := DefaultOptions()
		o.Endpoint, o.Metrics = "http://127.0.0.1:1/v1/traces", NewMetrics(prometheus.NewRegistry())
		change(&o)
		if _, err := New(context.WithoutCancel(t.Context()), o); err == nil {
			t.Error("accepted")
		}
	}
}
