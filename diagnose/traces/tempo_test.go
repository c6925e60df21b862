package traces

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// standIn is a Tempo as its documentation has it: it takes the parameters of
// /api/search, of TraceQL what kmend asks, and answers /api/v2/traces/ID in OTLP's
// JSON with the ids in base64, as Tempo writes them.
type standIn struct {
	t  *testing.T
	mu sync.Mutex
	q  []string
}

// form of a TraceQL query: conditions of one span.
var form = regexp.MustCompile(`^\{ resource\.service\.name = "((?:[^"\\]|\\["\\])*)"(?: && (duration > [0-9]+us|status = error))? \}$`)

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/api/v2/traces/"); ok {
		ms := map[string]int{"b1": 10, "c1": 300}[id]
		if ms == 0 {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, otlp(ms))
		return
	}
	p := r.URL.Query()
	start, err1 := strconv.ParseInt(p.Get("start"), 10, 64)
	end, err2 := strconv.ParseInt(p.Get("end"), 10, 64)
	limit, err3 := strconv.Atoi(p.Get("limit"))
	m := form.FindStringSubmatch(p.Get("q"))
	if r.URL.Path != "/api/search" || err1 != nil || err2 != nil || err3 != nil || start >= end || limit < 1 || m == nil {
		s.t.Errorf("Tempo would refuse %s", r.URL)
		http.Error(w, "invalid", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.q = append(s.q, m[0])
	s.mu.Unlock()
	switch {
	case m[1] == "gone":
		fmt.Fprint(w, `{"traces":[{"traceID":"dead"}]}`)
	case m[1] == "evil":
		fmt.Fprint(w, `{"traces":[{"traceID":"../../api/overrides"}]}`)
	case m[1] != "front":
		fmt.Fprint(w, `{"traces":[],"metrics":{}}`)
	case end == alertAt.Unix()+1:
		fmt.Fprint(w, `{"traces":[{"traceID":"b1","rootServiceName":"front","durationMs":10}],"metrics":{"inspectedTraces":1}}`)
	case m[2] == "status = error":
		fmt.Fprint(w, `{"metrics":{}}`)
	default:
		fmt.Fprint(w, `{"traces":[{"traceID":"c1","rootServiceName":"front","durationMs":300}]}`)
	}
}

func otlp(ms int) string {
	span := func(id, parent, kind string, from, to int) string {
		return fmt.Sprintf(`{"traceId":"AAAAAAAAAAAAAAAAAAAAAQ==","spanId":%q,"parentSpanId":%q,"name":"GET","kind":%q,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","status":{"code":"STATUS_CODE_OK"},"attributes":[{"key":"x","value":{"boolValue":true}},{"key":"k8s.pod.name","value":{"stringValue":"handled"}},{"key":"k8s.namespace.name","value":{"stringValue":"shop"}}]}`,
			id, parent, kind, alertAt.UnixNano()+int64(from)*1e6, alertAt.UnixNano()+int64(to)*1e6)
	}
	resource := func(name, pid string) string {
		return fmt.Sprintf(`"resource":{"attributes":[{"key":"service.name","value":{"stringValue":%q}},{"key":"host.name","value":{"stringValue":"n1"}},{"key":"process.pid","value":{"intValue":%q}}]}`, name, pid)
	}
	return fmt.Sprintf(`{"trace":{"resourceSpans":[{%s,"scopeSpans":[{"scope":{"name":"x"},"spans":[%s,%s]}]},{%s,"scopeSpans":[{"spans":[%s]}]}]},"status":"COMPLETE","metrics":{"inspectedBytes":"1"}}`,
		resource("front", "12"), span("AAAAAAAAAAE=", "", "SPAN_KIND_SERVER", 0, ms), span("AAAAAAAAAAI=", "AAAAAAAAAAE=", "SPAN_KIND_CLIENT", 1, ms),
		resource("stock", "77"), span("AAAAAAAAAAM=", "AAAAAAAAAAI=", "SPAN_KIND_SERVER", 1, ms))
}

func TestTempo(t *testing.T) {
	tempo := &standIn{t: t}
	s := source(t, Tempo, tempo.ServeHTTP, nil)
	w, err := way(t, s, "front")
	if err != nil || len(w.Stops) != 2 || w.Stops[1].Service != "stock" || w.Stops[1].Target.PID != 77 || w.Stops[1].Target.Node != "n1" {
		t.Fatalf("%+v, %v", w, err)
	}
	want := []string{`{ resource.service.name = "front" }`, `{ resource.service.name = "front" && duration > 15000us }`, `{ resource.service.name = "front" && status = error }`}
	if strings.Join(tempo.q, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked %q, want %q", tempo.q, want)
	}
}

// A name that is a piece of TraceQL stays a name; an id that is none is not asked.
func TestTempoHostile(t *testing.T) {
	tempo := &standIn{t: t}
	s := source(t, Tempo, tempo.ServeHTTP, nil)
	w, err := way(t, s, `x" || resource.service.name != "`, `back\slash`)
	if err != nil || len(w.Stops) != 0 || len(tempo.q) != 4 {
		t.Errorf("%+v, %v after %q", w, err, tempo.q)
	}
	if _, err := way(t, s, "evil"); err == nil || !strings.Contains(err.Error(), "is no id of a trace") {
		t.Errorf("error %v", err)
	}
	if w, err := way(t, s, "gone"); err != nil || len(w.Stops) != 0 {
		t.Errorf("a trace that is gone: %+v, %v", w, err)
	}
}

// Whatever a store answers is read without harm.
func FuzzAnswers(f *testing.F) {
	f.Add(fmt.Sprintf(jaegerAnswer, 10, "b1", true))
	f.Add(otlp(300))
	f.Add(`{"traces":[{"traceID":"b1"}],"data":[{"spans":[{"spanID":"a","references":[{"refType":"CHILD_OF","spanID":"a"}]}]}]}`)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, system := range []string{Jaeger, Tempo} {
			o := DefaultOptions()
			o.System, o.URL = system, "http://127.0.0.1:1"
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(o)
			c.http.Transport = says(answer)
			if s.finder = (jaeger{c}); system == Tempo {
				s.finder = tempo{c}
			}
			if w, err := s.Way(t.Context(), []string{"front"}, alertAt, alertAt.Add(1)); err == nil && len(w.Stops) > maxDepth {
				t.Errorf("%d stops", len(w.Stops))
			}
		}
	})
}

// says answers everything the same.
type says string

func (s says) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(s))), Request: r}, nil
}
