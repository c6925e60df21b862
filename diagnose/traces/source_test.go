package traces

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/internal/secret"
)

var alertAt = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// source asks a server of the test's.
func source(t *testing.T, system string, h http.HandlerFunc, change func(*Options)) *Source {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	o := DefaultOptions()
	o.System, o.URL = system, s.URL
	if change != nil {
		change(&o)
	}
	got, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func way(t *testing.T, s *Source, services ...string) (Way, error) {
	t.Helper()
	return s.Way(t.Context(), services, alertAt, alertAt.Add(time.Minute))
}

// jaegerAnswer has one trace, as Jaeger 1.76 writes it.
const jaegerAnswer = `{"data":[{"traceID":"%[2]s","spans":[
 {"traceID":"%[2]s","spanID":"a1","operationName":"GET /","references":[],"startTime":1795420800000000,"duration":%[1]d000,"tags":[{"key":"span.kind","type":"string","value":"server"}],"logs":[],"processID":"p1","warnings":null},
 {"traceID":"%[2]s","spanID":"a2","operationName":"GET","references":[{"refType":"CHILD_OF","traceID":"%[2]s","spanID":"a1"}],"startTime":1795420800001000,"duration":%[1]d000,"tags":[{"key":"span.kind","type":"string","value":"client"}],"logs":[],"processID":"p1","warnings":null},
 {"traceID":"%[2]s","spanID":"a3","operationName":"GET /","references":[{"refType":"CHILD_OF","traceID":"%[2]s","spanID":"a2"}],"startTime":1795420800001000,"duration":%[1]d000,"tags":[{"key":"error","type":"bool","value":%[3]t},{"key":"k8s.pod.name","type":"string","value":"handled"},{"key":"k8s.namespace.name","type":"string","value":"shop"}],"logs":[],"processID":"p2","warnings":["x"]}],
 "processes":{"p1":{"serviceName":"front","tags":[{"key":"process.pid","type":"int64","value":12},{"key":"host.name","type":"string","value":"VM"}]},
  "p2":{"serviceName":"stock","tags":[{"key":"process.pid","type":"int64","value":77},{"key":"host.name","type":"string","value":"VM"}]}},"warnings":null}],"total":0,"limit":0,"offset":0,"errors":null}`

// What is asked of Jaeger, and what comes of its answer.
func TestJaeger(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := secret.Open(token)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	s := source(t, Jaeger, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, fmt.Sprintf("%s %s %s-%s %s min=%s tags=%s %s", r.URL.Path, q.Get("service"), q.Get("start"), q.Get("end"), q.Get("limit"), q.Get("minDuration"), q.Get("tags"), r.Header.Get("Authorization")))
		switch {
		case q.Get("end") == "1795420800000000":
			fmt.Fprintf(w, jaegerAnswer, 10, "b1", false)
		case q.Get("tags") != "":
			fmt.Fprint(w, `{"data":[]}`)
		default:
			fmt.Fprintf(w, jaegerAnswer, 300, "c1", false)
		}
	}, func(o *Options) { o.Token = file })
	w, err := way(t, s, "a service & more", "never asked")
	if err != nil || w.Message != "none of 1 traces has a span of \"a service & more\"" {
		t.Errorf("%+v, %v", w, err)
	}
	asked = nil
	w, err = way(t, s, "front", "never asked")
	if err != nil || len(w.Stops) != 2 || w.Stops[1].Service != "stock" || w.Stops[1].Target.PID != 77 || w.Stops[1].Target.Node != "vm" {
		t.Fatalf("%+v, %v", w, err)
	}
	for _, e := range w.Stops[1].Evidence {
		if e.Probe != Jaeger {
			t.Errorf("evidence %+v is not Jaeger's", e)
		}
	}
	want := []string{
		"/api/traces front 1795417200000000-1795420800000000 20 min= tags= Bearer s3cret",
		"/api/traces front 1795420800000000-1795420860000000 20 min=15ms tags= Bearer s3cret",
		`/api/traces front 1795420800000000-1795420860000000 20 min= tags={"error":"true"} Bearer s3cret`,
	}
	if got := strings.Join(asked, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// The next name is tried where one has no traces.
func TestNamesInTurn(t *testing.T) {
	var asked []string
	s := source(t, Jaeger, func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("service")
		asked = append(asked, name)
		if name == "front" && r.URL.Query().Get("end") != "1795420800000000" {
			fmt.Fprintf(w, jaegerAnswer, 300, "c1", true)
		} else {
			http.NotFound(w, r)
		}
	}, nil)
	w, err := way(t, s, "job", "bad\nname", "front")
	if err != nil || len(w.Stops) != 2 || strings.Join(asked, " ") != "job job front front front" {
		t.Errorf("%+v, %v after %q", w, err, asked)
	}
	asked = nil
	w, err = way(t, s, "bad\x00name", strings.Repeat("x", 200))
	if err != nil || w.Message != "the alert names no service" || asked != nil {
		t.Errorf("%+v, %v after %q", w, err, asked)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for want, h := range map[string]http.HandlerFunc{
		"500 Internal Server Error":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "storage", http.StatusInternalServerError) },
		"reading what Jaeger answers": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"larger than 16 MiB": func(w http.ResponseWriter, _ *http.Request) { // without an end
			for part := make([]byte, 1<<20); ; {
				if _, err := w.Write(part); err != nil {
					return
				}
			}
		},
		"it redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"no answer within 100ms": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		`500 Internal Server Error: "xxxxx`: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("x", 9000), http.StatusInternalServerError)
		},
	} {
		s := source(t, Jaeger, h, func(o *Options) { o.Timeout = 100 * time.Millisecond })
		if want != "no answer within 100ms" {
			s = source(t, Jaeger, h, nil)
		}
		_, err := way(t, s, "front")
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	s := source(t, Jaeger, func(http.ResponseWriter, *http.Request) {}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("kmend stops"))
	if _, err := s.Way(ctx, []string{"front"}, alertAt, alertAt); err == nil || !strings.Contains(err.Error(), "kmend stops") {
		t.Errorf("error %v", err)
	}
}

// However many spans there are, no more than these are kept.
func TestSpansAreBounded(t *testing.T) {
	span := `{"traceID":"c1","spanID":"a","operationName":"x","startTime":1,"duration":1,"processID":"p"}`
	trace := `{"traceID":"c1","spans":[` + strings.Repeat(span+",", 9_999) + span + `],"processes":{"p":{"serviceName":"front"}}}`
	s := source(t, Jaeger, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":[`+strings.Repeat(trace+",", 6)+trace+`]}`)
	}, nil)
	all, err := s.finder.find(t.Context(), query{service: "front", limit: 20})
	if err != nil || len(all) != maxSpans/10_000 {
		t.Errorf("%d traces of 10,000 spans, %v; want %d", len(all), err, maxSpans/10_000)
	}
	all, err = s.finder.find(t.Context(), query{service: "front", limit: 2})
	if err != nil || len(all) != 2 {
		t.Errorf("%d traces, %v; want 2", len(all), err)
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		`System is "zipkin"`: func(o *Options) { o.System = "zipkin" },
		"URL is no URL":      func(o *Options) { o.URL = "jaeger:16686" },
		"holds credentials":  func(o *Options) { o.URL = "http://me:secret@jaeger" },
		"Timeout is 0s":      func(o *Options) { o.Timeout = 0 },
		"Baseline is 0s":     func(o *Options) { o.Baseline = 0 },
		"Traces is 0":        func(o *Options) { o.Traces = 0 },
	} {
		o := DefaultOptions()
		o.System, o.URL = Jaeger, "http://127.0.0.1:1"
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestTargets(t *testing.T) {
	for want, a := range map[string]map[string]string{
		"pod shop/web-1 on ":       {podName: "web-1", namespaceName: "shop", hostName: "web-1", processID: "1"},
		"pod shop/web-1/app on n1": {podName: "web-1", namespaceName: "shop", containerName: "app", nodeName: "n1"},
		"pid 12 on host-1":         {hostName: "Host-1", processID: "12"},
		"no target on ":            {podName: "web-1", hostName: "web-1", processID: "1"},
		"no target  on ":           {containerID: "0123456789ab", hostName: "x", processID: "1"},
		"no target   on ":          {hostName: "../x", processID: "1"},
		"no target    on ":         {hostName: "x", processID: "4194305"},
		"no target     on ":        {processID: "12"},
	} {
		if got := target(a); got.String()+" on "+got.Node != strings.Join(strings.Fields(want), " ")+map[bool]string{true: " ", false: ""}[got.Node == ""] {
			t.Errorf("%v is %q on %q, want %q", a, got, got.Node, want)
		}
	}
}
