// Package otlp stands in for a receiver of traces in tests: it takes OTLP over HTTP as
// its specification has it (protobuf, gzip or not), remembers the spans, and can be
// slow, broken and unwilling. What it decodes with are OpenTelemetry's own types.
package otlp

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span as it came.
type Span struct {
	Name, Trace, ID, Parent string // ids in hexadecimal; Parent is empty for a root
	Links                   []string
	Failed                  bool
	Attributes              map[string]any
	Resource                map[string]any
}

// Server is a running receiver.
type Server struct {
	*httptest.Server
	stop chan struct{}

	mu       sync.Mutex
	spans    []Span
	bodies   [][]byte
	headers  []http.Header
	problems []string
	broken   func(w http.ResponseWriter) bool
	hanging  bool
}

const maxBody = 16 << 20

// Start starts a receiver.
func Start() *Server {
	s := &Server{stop: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Endpoint is where it takes traces.
func (s *Server) Endpoint() string { return s.URL + "/v1/traces" }

// Close ends it, and the requests that hang.
func (s *Server) Close() {
	close(s.stop)
	s.Server.Close()
}

// Hang has every request from now on get no answer.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hanging = true
}

// Break has f answer from now on; it says whether it did.
func (s *Server) Break(f func(w http.ResponseWriter) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = f
}

// Spans are those that came, in the order of their coming.
func (s *Server) Spans() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// Requests are what came: the bodies, decompressed, and the headers.
func (s *Server) Requests() ([][]byte, []http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies), slices.Clone(s.headers)
}

// Problems are requests that a receiver would not have understood.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, why := read(r)
	s.mu.Lock()
	s.bodies, s.headers = append(s.bodies, body), append(s.headers, r.Header.Clone())
	broken, hanging := s.broken, s.hanging
	s.mu.Unlock()
	if hanging {
		select {
		case <-s.stop:
		case <-r.Context().Done():
		}
		return
	}
	if broken != nil && broken(w) {
		return
	}
	var in collector.ExportTraceServiceRequest
	switch {
	case why != "":
	case r.Method != http.MethodPost || r.URL.Path != "/v1/traces":
		why = r.Method + " " + r.URL.Path
	case r.Header.Get("Content-Type") != "application/x-protobuf":
		why = "content type " + r.Header.Get("Content-Type")
	default:
		if err := proto.Unmarshal(body, &in); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		s.mu.Lock()
		s.problems = append(s.problems, why)
		s.mu.Unlock()
		http.Error(w, why, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	for _, rs := range in.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, one := range ss.Spans {
				s.spans = append(s.spans, newSpan(one, rs.Resource.GetAttributes()))
			}
		}
	}
	s.mu.Unlock()
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

func read(r *http.Request) (body []byte, why string) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err.Error()
		}
		in = z
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBody))
	if err != nil {
		return nil, err.Error()
	}
	return body, ""
}

func newSpan(s *trace.Span, resource []*common.KeyValue) Span {
	out := Span{Name: s.Name, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Failed: s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR, Attributes: values(s.Attributes), Resource: values(resource)}
	for _, l := range s.Links {
		out.Links = append(out.Links, hex.EncodeToString(l.TraceId))
	}
	return out
}

func values(all []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range all {
		switch v := kv.Value.GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = v.IntValue
		case *common.AnyValue_BoolValue:
			out[kv.Key] = v.BoolValue
		case *common.AnyValue_DoubleValue:
			out[kv.Key] = v.DoubleValue
		default:
			out[kv.Key] = kv.Value.String()
		}
	}
	return out
}
