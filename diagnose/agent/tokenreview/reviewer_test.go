package tokenreview

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api stands in for the API server where a real one does not do what the test
// needs; test/cluster asks a real one. It takes only what a real one takes.
type api struct {
	t       *testing.T
	asked   atomic.Int32
	answer  func(w http.ResponseWriter, token string)
	metrics *prometheus.Registry
}

const callers = "system:serviceaccount:kmend:kmend"

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	var got map[string]any
	dec := json.NewDecoder(r.Body)
	if err := dec.Decode(&got); err != nil || r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" ||
		r.Header.Get("Authorization") != "Bearer own" || r.Header.Get("Content-Type") != "application/json" ||
		got["apiVersion"] != "authentication.k8s.io/v1" || got["kind"] != "TokenReview" {
		a.t.Errorf("%s %s %v: %v %v", r.Method, r.URL, r.Header, got, err)
	}
	spec, _ := got["spec"].(map[string]any)
	if auds, ok := spec["audiences"].([]any); !ok || len(auds) != 1 || auds[0] != "kmend-agent" {
		a.t.Errorf("asked for the audiences %v", spec["audiences"])
	}
	token, _ := spec["token"].(string)
	a.answer(w, token)
}

func newReviewer(t *testing.T, answer func(w http.ResponseWriter, token string)) (*Reviewer, *api) {
	t.Helper()
	a := &api{t: t, answer: answer, metrics: prometheus.NewRegistry()}
	srv := httptest.NewTLSServer(a)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.Host, o.Port, o.Credentials, o.Metrics = u.Hostname(), u.Port(), t.TempDir(), NewMetrics(a.metrics)
	write(t, o, "token", "own\n")
	write(t, o, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, a
}

func write(t *testing.T, o Options, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.Credentials, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reviewed answers with a status.
func reviewed(status string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, token string) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":%q},"status":%s}`, token, status)
	}
}

const good = `{"authenticated":true,"audiences":["kmend-agent"],"user":{"username":"` + callers + `"}}`

func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the token is in the error: %v", err)
	}
}

// Only an answer that says all three lets in: authenticated, for the audience, of
// the one service account.
func TestJudges(t *testing.T) {
	for status, want := range map[string]string{
		good: "",
		`{"authenticated":true,"user":{"username":"` + callers + `"}}`:                                                                       `not for the audience "kmend-agent" but for []`,
		`{"authenticated":true,"audiences":["https://kubernetes"],"user":{"username":"` + callers + `"}}`:                                    `but for ["https://kubernetes"]`,
		`{"authenticated":true,"audiences":["kmend-agent"],"user":{"username":"system:serviceaccount:kmend:kmend2"}}`:                        "is system:serviceaccount:kmend:kmend2's, and only " + callers + " may ask",
		`{"authenticated":true,"audiences":["kmend-agent"],"user":{}}`:                                                                       "only " + callers,
		`{"authenticated":false,"error":"[invalid bearer token, s3cret]","audiences":["kmend-agent"],"user":{"username":"` + callers + `"}}`: `not valid for the audience "kmend-agent" (the API server says: [invalid bearer token, TOKEN])`,
		`{}`: "no reason given",
	} {
		r, _ := newReviewer(t, reviewed(status))
		err := r.Check(t.Context(), "s3cret")
		if want == "" && err == nil {
			continue
		}
		says(t, err, want)
		if _, ok := errors.AsType[refusal](err); !ok {
			t.Errorf("%s: %v is no refusal", status, err)
		}
	}
}

func TestNoTokenIsNotAsked(t *testing.T) {
	r, a := newReviewer(t, reviewed(good))
	says(t, r.Check(t.Context(), ""), "no bearer token: project a serviceAccountToken of kmend/kmend with the audience kmend-agent")
	if n := a.asked.Load(); n != 0 {
		t.Errorf("the API server was asked %d times", n)
	}
}

// Whatever goes wrong with the API server lets nobody in, and is not kept: the
// next question is asked again.
func TestWithoutAnAnswer(t *testing.T) {
	status := func(code int, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(code); fmt.Fprint(w, body) }
	}
	for want, answer := range map[string]func(http.ResponseWriter, string){
		"deploy/rbac/kmend-agent.yaml grants it: with the chart run helm upgrade again, which grants it; without it kubectl apply -f deploy/rbac/kmend-agent.yaml (the API server says: nope TOKEN)": status(403, `{"message":"nope s3cret"}`),
		"does not know the agent's own token": status(401, "{}"),
		"answered 500: no reason given":       status(500, "s3cret"),
		"answered 302": func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		},
		"it is no JSON":     status(201, `{"spec": s3cret`),
		"it is a v1 Status": status(200, `{"apiVersion":"v1","kind":"Status","status":`+good+`}`),
		"longer than":       status(201, strings.Repeat(" ", maxAnswer)+good),
	} {
		r, a := newReviewer(t, answer)
		for range 2 {
			err := r.Check(t.Context(), "s3cret")
			says(t, err, want)
			says(t, err, "until then nobody is let in")
		}
		if n := a.asked.Load(); n != 2 {
			t.Errorf("%s: asked %d times, want 2", want, n)
		}
		if err := testutil.GatherAndCompare(a.metrics, strings.NewReader(`
# HELP kmend_agent_callers_total Requests by what became of the caller's token: let_in, refused, unchecked (refused as well: the API server did not answer).
# TYPE kmend_agent_callers_total counter
kmend_agent_callers_total{result="let_in"} 0
kmend_agent_callers_total{result="refused"} 0
kmend_agent_callers_total{result="unchecked"} 2
`)); err != nil {
			t.Error(err)
		}
	}
}

// An API server that hangs, one that is gone, and one with another CA than the pod's.
func TestUnreachable(t *testing.T) {
	release := make(chan struct{})
	r, _ := newReviewer(t, func(http.ResponseWriter, string) { <-release })
	defer close(release)
	r.o.Timeout = 100 * time.Millisecond
	says(t, r.Check(t.Context(), "s3cret"), "no answer within 100ms")

	r, _ = newReviewer(t, reviewed(good))
	r.o.Port = "1"
	says(t, r.Check(t.Context(), "s3cret"), "connect: connection refused; look whether the agents' NetworkPolicy (egress) allows this port")

	r, _ = newReviewer(t, reviewed(good))
	write(t, r.o, "ca.crt", "none")
	says(t, r.Check(t.Context(), "s3cret"), "holds no PEM certificate")
	write(t, r.o, "token", "\n")
	says(t, r.Check(t.Context(), "s3cret"), "the agent's own token")
}

// An answer is kept for at most a minute, a refusal shorter, and each for its own
// token only.
func TestKeepsAnswers(t *testing.T) {
	r, a := newReviewer(t, func(w http.ResponseWriter, token string) {
		if token == "kmend's" {
			reviewed(good)(w, token)
			return
		}
		reviewed(`{"authenticated":false}`)(w, token)
	})
	now := time.Now()
	r.now = func() time.Time { return now }
	ask := func(token string, letIn bool, asked int32) {
		t.Helper()
		if err := r.Check(t.Context(), token); (err == nil) != letIn || a.asked.Load() != asked {
			t.Errorf("%s after %d questions: %v; want let in %t after %d", token, a.asked.Load(), err, letIn, asked)
		}
	}
	ask("kmend's", true, 1)
	ask("kmend's", true, 1)
	ask("another", false, 2)
	ask("another", false, 2)
	ask("kmend's ", false, 3)
	now = now.Add(keepRefused)
	ask("another", false, 4)
	ask("kmend's", true, 4)
	now = now.Add(keepLetIn - keepRefused)
	ask("kmend's", true, 5)
	if keepLetIn > time.Minute || keepRefused > time.Minute {
		t.Error("answers are kept for longer than a minute")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c, now := newCache(time.Minute), time.Now()
	for i := range 2 * maxKept {
		c.put(key{byte(i), byte(i >> 8)}, nil, now)
	}
	_, first := c.get(key{}, now)
	if len(c.kept) != maxKept || !first {
		t.Errorf("%d answers are kept, the first among them: %t; want %d and true", len(c.kept), first, maxKept)
	}
	c.put(key{1: 255}, nil, now.Add(time.Minute)) // those are over
	if _, ok := c.get(key{1: 255}, now.Add(time.Minute)); !ok || len(c.kept) != 1 {
		t.Errorf("%d answers are kept when the others are over, the new one: %t", len(c.kept), ok)
	}
}

// Many callers at once are few questions: who had to wait for a place finds the
// answer that the first ones got.
func TestQuestionsAtOnce(t *testing.T) {
	var under, most atomic.Int32
	release := make(chan struct{})
	r, a := newReviewer(t, func(w http.ResponseWriter, token string) {
		for n := under.Add(1); ; {
			if was := most.Load(); n <= was || most.CompareAndSwap(was, n) {
				break
			}
		}
		<-release
		under.Add(-1)
		reviewed(good)(w, token)
	})
	var all sync.WaitGroup
	for range 5 * maxAtOnce {
		all.Go(func() {
			if err := r.Check(t.Context(), "kmend's"); err != nil {
				t.Error(err)
			}
		})
	}
	for under.Load() < maxAtOnce {
		time.Sleep(time.Millisecond)
	}
	waits := r.o
	waits.Timeout = time.Millisecond
	impatient := &Reviewer{o: waits, http: r.http, places: r.places, letIn: r.letIn, refused: r.refused, now: r.now}
	says(t, impatient.Check(t.Context(), "s3cret"), "others are being checked")
	close(release)
	all.Wait()
	if most.Load() != maxAtOnce || a.asked.Load() != maxAtOnce {
		t.Errorf("%d questions, %d at once; want %d", a.asked.Load(), most.Load(), maxAtOnce)
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"run the agent as a pod":     func(o *Options) { o.Host = "" },
		"KUBERNETES_SERVICE_PORT is": func(o *Options) { o.Port = "https" },
		"want a host name":           func(o *Options) { o.Host = "a/b" },
		"want an absolute path":      func(o *Options) { o.Credentials = "x" },
		"audience is":                func(o *Options) { o.Audience = "" },
		"write NAMESPACE/NAME":       func(o *Options) { o.Caller = "kmend" },
		"allowed: 100ms to 1m":       func(o *Options) { o.Timeout = 0 },
		"Metrics or Logger":          func(o *Options) { o.Metrics = nil },
		"the agent's own token":      func(*Options) {},
	} {
		o := DefaultOptions()
		o.Host, o.Port, o.Credentials = "10.96.0.1", "443", t.TempDir()
		change(&o)
		_, err := New(o)
		says(t, err, want)
	}
}
