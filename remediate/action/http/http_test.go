package http_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	action "github.com/kmend/kmend/remediate/action/http"
)

const secret = "Bearer s3cret-of-the-other-system"

// system is the other side. It honours the Idempotency-Key: what it has done
// once for a key it does not do again.
type system struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // METHOD PATH KEY CONTENT-TYPE BODY
	done map[string]bool
}

func start(t *testing.T, tls bool, answer http.HandlerFunc) *system {
	t.Helper()
	s := &system{done: map[string]bool{}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), b))
		s.done[r.Header.Get("Idempotency-Key")] = true
		s.mu.Unlock()
		answer(w, r)
	})
	if tls {
		s.Server = httptest.NewTLSServer(h)
	} else {
		s.Server = httptest.NewServer(h)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *system) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func say(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func preview(t *testing.T, with map[string]any) incident.Step {
	t.Helper()
	p, err := action.NewRequest().Preview(t.Context(), incident.Target{}, with)
	if err != nil {
		t.Fatal(err)
	}
	return incident.Step{With: with, Preview: &p}
}

func TestRequestPreviewAndUndo(t *testing.T) {
	s := start(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != secret || !strings.HasPrefix(r.Header.Get("Idempotency-Key"), "kmend-") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, "your %s\x1b[2J", r.Header.Get("Authorization"))
	})
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	head := map[string]any{"Authorization": map[string]any{"valueFile": file(t, secret+"\n")}}
	with := map[string]any{"url": s.URL + "/drain?token=q", "headers": head, "body": `{"pod": "a"}`, "caFile": ca,
		"undo":    map[string]any{"url": s.URL + "/undrain", "method": "DELETE", "headers": head},
		"preview": map[string]any{"url": s.URL + "/drain?dry", "method": "GET", "headers": head}}
	step := preview(t, with)
	p := step.Preview
	if p.Irreversible || !p.Once || p.After != "sent; the dry run says 200 OK: your *** [2J" || strings.Contains(p.Summary, "token") {
		t.Errorf("preview %+v", *p)
	}
	done, err := action.NewRequest().Apply(t.Context(), incident.Target{}, step)
	if err != nil || done.Result != "applied" || done.After != "sent, answered with 200 OK: your *** [2J" {
		t.Fatalf("Apply: %+v, %v", done, err)
	}
	back, err := action.NewRequest().Undo(t.Context(), incident.Target{}, step, done)
	if err != nil || back.Result != "undone" {
		t.Fatalf("Undo: %+v, %v", back, err)
	}
	want := []string{"GET /drain?dry  ", `POST /drain?token=q application/json {"pod": "a"}`, "DELETE /undrain  "}
	if got := s.requests(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if text := fmt.Sprintf("%+v %+v %+v", *p, done, back); strings.Contains(text, "s3cret") {
		t.Errorf("the secret is in %s", text)
	}
	delete(with, "caFile")
	if _, err := action.NewRequest().Preview(t.Context(), incident.Target{}, with); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server whose certificate nobody signed: %v", err)
	}
}

// Called twice for one plan, as after a crash, the key is the same, and the other
// side does it once. Another plan has another key.
func TestTheKeyIsThePlans(t *testing.T) {
	s := start(t, false, say(200, ""))
	step := preview(t, map[string]any{"url": s.URL, "repeatable": true})
	if step.Preview.Once || !step.Preview.Irreversible {
		t.Errorf("preview %+v", *step.Preview)
	}
	for range 2 {
		if _, err := action.NewRequest().Apply(t.Context(), incident.Target{}, step); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.requests()) != 2 || len(s.done) != 1 {
		t.Errorf("%d requests, %d keys", len(s.requests()), len(s.done))
	}
	if other := preview(t, step.With); other.Preview.Apply["idempotency_key"] == step.Preview.Apply["idempotency_key"] {
		t.Error("two plans have one key")
	}
	for method, once := range map[string]bool{"": true, "POST": true, "PATCH": true, "PUT": false, "DELETE": false} {
		if p := preview(t, map[string]any{"url": s.URL, "method": method}); p.Preview.Once != once {
			t.Errorf("%q: Once is %v", method, p.Preview.Once)
		}
	}
}

// unsure is whether the account comes with the error: it may have taken effect.
func TestAnswersThatAreErrors(t *testing.T) {
	elsewhere := start(t, false, say(200, ""))
	closed := httptest.NewServer(nil)
	closed.Close()
	released := make(chan struct{})
	hang := start(t, false, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	t.Cleanup(func() { close(released) }) // before the server is closed
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		url    string
		expect []int
		want   string
		unsure bool
	}{
		{"refused", say(409, "busy\nnow"), "", nil, "was refused with 409 Conflict: busy now", false},
		{"broken", say(500, secret), "", nil, "was answered with 500 Internal Server Error: ***; it may have taken effect", true},
		{"other", say(200, ""), "", []int{202}, "was answered with 200 OK", true},
		{"huge", say(500, strings.Repeat("z", 10<<20)), "", nil, strings.Repeat("z", 100) + "...", true},
		{"redirect", http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, "", nil, "redirects are not followed", true},
		{"closed", nil, closed.URL, nil, "connection refused", false},
		{"hang", nil, hang.URL + "?token=t", nil, "no answer within 1s; it was sent, and may have taken effect", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url
			if c.answer != nil {
				url = start(t, false, c.answer).URL
			}
			step := preview(t, map[string]any{"url": url, "expect": c.expect, "timeout": "1s",
				"headers": map[string]any{"Authorization": map[string]any{"valueFile": file(t, secret)}}})
			x, err := action.NewRequest().Apply(t.Context(), incident.Target{}, step)
			if err == nil || !strings.Contains(err.Error(), c.want) || (x.State != nil) != c.unsure {
				t.Errorf("%+v, %.500v; want %q, unsure %v", x, err, c.want, c.unsure)
			}
			if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "token")) {
				t.Errorf("%.1000v", err)
			}
		})
	}
	if got := elsewhere.requests(); got != nil {
		t.Errorf("the redirect was followed: %q", got)
	}
	why := errors.New("the stage is over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer cancel()
	step := preview(t, map[string]any{"url": hang.URL})
	if x, err := action.NewRequest().Apply(ctx, incident.Target{}, step); !errors.Is(err, why) || x.State == nil {
		t.Errorf("when the context ends: %+v, %v", x, err)
	}
}

func TestParametersThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"url", "ftp://h/", `with.url: the scheme is "ftp"`},
		{"url", "https://user:s3cret@h/", "with.url: it needs a host, and no user"},
		{"url", "https://h/a/%2e%2e/b", "with.url: its path has a . or .."},
		{"url", "https://h/a?x=y z", "with.url: it has white space"},
		{"url", "://s3cret", "with.url: it is not a URL"},
		{"method", "CONNECT", "with.method"},
		{"timeout", "6m", "with.timeout: 6m0s is out of bounds"},
		{"expect", []int{99}, "with.expect[0]: 99"},
		{"body", `{"a": x}`, "with.body: it is not JSON"},
		{"headers", map[string]any{"idempotency-key": map[string]any{"value": "x"}}, "this header is not for runbooks"},
		{"headers", map[string]any{"X": map[string]any{}}, "with.headers.X: give value or valueFile"},
		{"headers", map[string]any{"X": map[string]any{"valueFile": "/nowhere"}}, "no such file"},
		{"headers", map[string]any{"X": map[string]any{"valueFile": file(t, "s3cret\nEvil: yes")}}, "more than one line"},
		{"undo", map[string]any{"url": "h"}, "with.undo.url"},
		{"uri", "x", "with.uri: unknown parameter; allowed: body, caFile"},
	} {
		with := map[string]any{"url": "http://127.0.0.1:1/", c.key: c.value}
		if _, err := action.NewRequest().Preview(t.Context(), incident.Target{}, with); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s %v: %v, want %q", c.key, c.value, err, c.want)
		}
	}
}
