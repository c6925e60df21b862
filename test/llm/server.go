// Package llm stands in for the providers of large language models in tests: the
// call of Anthropic's Messages API and of OpenAI's chat completions that kmend
// makes. It checks what they check (credentials, the version, the media type,
// fields they do not know, roles, bounds, and that a schema is of the part of JSON
// Schema that they take), counts tokens, remembers what a provider would cache,
// and can be slow, broken and unwilling.
package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a client has to show, and the model that there is.
const (
	Key   = "sk-test-0123456789abcdefghij"
	Model = "stand-in-1"
)

// Prompt is what a model is asked.
type Prompt struct {
	System, User string
	Schema       json.RawMessage
}

// Fault is what a server does instead of answering as it should.
type Fault struct {
	After    time.Duration // passes before it does anything
	Status   int           // of the answer, whose message repeats key and prompt
	Body     string        // of the answer
	Redirect string        // where it sends the caller
	Refuse   bool          // the model will not answer
	Cut      bool          // the answer ends in the middle
}

// Usage is what all calls took, in tokens: a quarter of the bytes.
type Usage struct{ Input, Cached, Output int }

// Server is a running stand-in.
type Server struct {
	*httptest.Server
	api    api
	answer func(Prompt) string

	mu       sync.Mutex
	key      string
	fault    Fault
	usage    Usage
	read     map[string]bool // what is cached
	requests [][]byte
	problems []string
	unlisted bool
}

// api is what providers differ in.
type api struct {
	path      string
	requestID string // header
	key       func(http.Header) string
	parse     func(h http.Header, body []byte) (call, *wrong)
	reply     func(reply) any
	wrong     func(wrong) any
}

// call is a request that was understood.
type call struct {
	Prompt
	model     string
	maxTokens int
	cached    string // prefix of the prompt that is to be remembered
}

// reply is what is answered to a call.
type reply struct {
	text         string
	refused, cut bool
	Usage
	written int // tokens of the input that the cache got
}

// wrong is why a request is not answered.
type wrong struct {
	status                     int
	kind, code, param, message string
}

func bad(param, format string, args ...any) *wrong {
	return &wrong{status: http.StatusBadRequest, kind: "invalid_request_error", code: "invalid_value", param: param, message: fmt.Sprintf(format, args...)}
}

// minCached is the least prefix that providers cache, in tokens.
const minCached = 1024

func start(a api, key string, answer func(Prompt) string) *Server {
	s := &Server{api: a, answer: answer, key: key, read: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Rotate makes key the only one that counts.
func (s *Server) Rotate(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key
}

// Break has every call end so from now on; the zero Fault mends it.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Usage is what all calls took.
func (s *Server) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}

// Requests are the bodies of all calls, of those that were refused, too.
func (s *Server) Requests() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Problems are requests that the provider would not have understood.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 32<<20))
	s.mu.Lock()
	s.requests = append(s.requests, body)
	fault, key := s.fault, s.key
	s.mu.Unlock()
	w.Header().Set(s.api.requestID, fmt.Sprintf("req_%d", len(s.Requests())))

	select {
	case <-time.After(fault.After):
	case <-r.Context().Done():
		return
	}
	if at, ok := s.models(r); ok {
		s.list(w, r, at, key, fault)
		return
	}
	c, why := s.understand(r, body, err)
	switch {
	case why != nil:
		s.mu.Lock()
		s.problems = append(s.problems, why.message)
		s.mu.Unlock()
	case s.api.key(r.Header) != key:
		why = &wrong{http.StatusUnauthorized, "authentication_error", "invalid_api_key", "", "Incorrect API key provided: " + s.api.key(r.Header)}
	case fault.Redirect != "":
		http.Redirect(w, r, fault.Redirect, http.StatusTemporaryRedirect)
		return
	case fault.Status != 0:
		why = &wrong{fault.Status, kinds[fault.Status], kinds[fault.Status], "", fmt.Sprintf("%s asked %q", key, c.User)}
	case c.model != Model:
		why = &wrong{http.StatusNotFound, "not_found_error", "model_not_found", "model", "model: " + c.model}
	}
	if why != nil {
		w.Header().Set("Retry-After", "1")
		send(w, why.status, fault.Body, s.api.wrong(*why))
		return
	}
	send(w, http.StatusOK, fault.Body, s.api.reply(s.complete(c, fault)))
}

// kinds are names of what goes wrong.
var kinds = map[int]string{
	400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
	429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}

// send answers with v, or with a body that a test wants.
func send(w http.ResponseWriter, status int, body string, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != "" {
		_, _ = io.WriteString(w, body)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// understand checks what does not depend on who is asked, then what does.
func (s *Server) understand(r *http.Request, body []byte, err error) (call, *wrong) {
	switch {
	case err != nil:
		return call{}, &wrong{http.StatusRequestEntityTooLarge, "request_too_large", "request_too_large", "", err.Error()}
	case r.Method != http.MethodPost || r.URL.Path != s.api.path || r.URL.RawQuery != "":
		return call{}, &wrong{http.StatusNotFound, "not_found_error", "unknown_url", "", r.Method + " " + r.URL.String() + " is not there"}
	case r.Header.Get("Content-Type") != "application/json":
		return call{}, bad("", "content type %q", r.Header.Get("Content-Type"))
	case r.Header.Get("Traceparent") != "":
		return call{}, bad("", "the request carries somebody's trace")
	}
	c, why := s.api.parse(r.Header, body)
	switch {
	case why != nil:
	case c.maxTokens < 1 || c.maxTokens > 128000:
		why = bad("max_tokens", "max_tokens: %d", c.maxTokens)
	case strings.TrimSpace(c.System) == "" || strings.TrimSpace(c.User) == "":
		why = bad("messages", "text content blocks must be non-empty")
	}
	return c, why
}

// complete asks the test what the model says.
func (s *Server) complete(c call, f Fault) reply {
	out := reply{text: s.answer(c.Prompt), refused: f.Refuse, cut: f.Cut}
	if f.Refuse {
		out.text = ""
	}
	if f.Cut {
		out.text = out.text[:len(out.text)/2]
	}
	if limit := 4 * c.maxTokens; len(out.text) > limit {
		out.text, out.cut = out.text[:limit], true
	}
	out.Usage = Usage{Input: tokens(c.System + c.User + string(c.Schema)), Output: tokens(out.text)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := tokens(c.cached); n >= minCached {
		if s.read[c.cached] {
			out.Cached = n
		} else {
			out.written = n
		}
		s.read[c.cached] = true
	}
	s.usage = Usage{s.usage.Input + out.Input, s.usage.Cached + out.Cached, s.usage.Output + out.Output}
	return out
}

func tokens(s string) int { return (len(s) + 3) / 4 }

// strict decodes a body that may have no field beside those of v.
func strict(body []byte, v any) *wrong {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return bad("", "the body: %v", err)
	}
	return nil
}

// keys of an object, sorted.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
