package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/incident"
)

// front is a proxy before the real API server that does a fault in place of
// some changes; dry runs and reads pass.
type front struct {
	server *httptest.Server
	proxy  http.Handler
	mu     sync.Mutex
	fault  func(f *front, w http.ResponseWriter, r *http.Request)
	left   int // changes still to be faulty
	asked  int // changes that came
	made   int // changes that the API server made
}

// before starts a front that speaks to the API server as kmend.
func (b *bed) before() *front {
	b.Helper()
	upstream, err := url.Parse(b.config.Host)
	b.must(err)
	transport, err := rest.TransportFor(b.config)
	b.must(err)
	f := &front{}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) }, Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			if changes(r.Request) && r.StatusCode < 300 {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.made++
			}
			return nil
		},
	}
	f.server = httptest.NewServer(f)
	b.Cleanup(f.server.Close)
	return f
}

// changes reports whether a request changes what an action changes: events and
// questions about rights do not.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && !r.URL.Query().Has("dryRun") &&
		!strings.HasSuffix(r.URL.Path, "/events") && !strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews")
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	fault := f.fault
	if !changes(r) || f.left == 0 {
		fault = nil
	}
	if changes(r) {
		f.asked++
		f.left = max(0, f.left-1)
	}
	f.mu.Unlock()
	if fault == nil {
		f.proxy.ServeHTTP(w, r)
		return
	}
	fault(f, w, r)
}

// arm makes the next changes faulty and counts from 0.
func (f *front) arm(times int, fault func(f *front, w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.left, f.asked, f.made = fault, times, 0, 0
}

func (f *front) counts() (left, asked, made int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left, f.asked, f.made
}

// no is the API server's answer with a code; 429 asks to come again after a second.
func no(code int, reason metav1.StatusReason) func(f *front, w http.ResponseWriter, r *http.Request) {
	return func(_ *front, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"%d says the test","reason":%q,"code":%d}`, code, reason, code)
	}
}

// hangs reads the body first: the server sees only then that the client has left.
func hangs(_ *front, _ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// loses does what was asked and closes the connection without an answer.
func loses(f *front, _ http.ResponseWriter, r *http.Request) {
	f.proxy.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// doesAndHangs does what was asked and never answers.
func doesAndHangs(f *front, _ http.ResponseWriter, r *http.Request) {
	f.proxy.ServeHTTP(httptest.NewRecorder(), r)
	<-r.Context().Done()
}

// An API server that is busy, broken, hangs, or loses its answers for a while:
// each action is done, once, and is undone once.
func TestActsOnceThroughFaults(t *testing.T) {
	b := newBed(t)
	f := b.before()
	e := b.executor(&rest.Config{Host: f.server.URL})
	b.deployment("web", 1)
	for _, fault := range []struct {
		name  string
		times int
		do    func(f *front, w http.ResponseWriter, r *http.Request)
	}{
		{"409", 2, no(409, metav1.StatusReasonConflict)},
		{"429", 2, no(429, metav1.StatusReasonTooManyRequests)},
		{"500", 2, no(500, metav1.StatusReasonInternalError)},
		{"hangs", 1, hangs},
		{"done and the answer is lost", 1, loses},
		{"done and it hangs", 1, doesAndHangs},
	} {
		for _, act := range []struct {
			action string
			with   map[string]any
			undone bool
		}{
			{"kubernetes.scale", map[string]any{"by": 1, "max": 5}, true},
			{"kubernetes.resize_cpu", map[string]any{"max": 1}, true},
			{"kubernetes.evict_pod", nil, false},
		} {
			t.Run(fault.name+" "+act.action, func(t *testing.T) {
				b := &bed{T: t, Executor: e, namespace: b.namespace, config: b.config, admin: b.admin}
				b.ready("web", 1)
				target := b.target("web")
				p := b.plan(target, act.action, act.with)
				once := func(what string, do func(ctx context.Context) (incident.Execution, error), result string) incident.Execution {
					t.Helper()
					f.arm(fault.times, fault.do)
					ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
					defer cancel()
					began := time.Now()
					x, err := do(ctx)
					b.must(err)
					left, asked, made := f.counts()
					t.Logf("%s: %.1f s, %d requests", what, time.Since(began).Seconds(), asked)
					b.is(what, x.Result+x.State["event"], result)
					b.is("changes that the API server made", made, 1)
					b.is("faults that did not happen", left, 0)
					return x
				}
				x := once("apply", func(ctx context.Context) (incident.Execution, error) { return e.Apply(ctx, p, 0) }, "applied")
				if act.undone {
					once("undo", func(ctx context.Context) (incident.Execution, error) { return e.Undo(ctx, p, x) }, "undone")
				}
				f.arm(0, nil)
				b.ready("web", 1)
				if now := b.target("web"); act.undone && now.PodUID == target.PodUID {
					expectNoRestart(t, b.pod(target))
				} else if !act.undone && now.PodUID == target.PodUID {
					t.Error("the pod was not evicted")
				}
			})
		}
	}
}

// One that says no to every change until the step's time is over: it ends in
// time, says what the API server said, and nothing is changed.
func TestGivesUpOnAnAPIServer(t *testing.T) {
	b := newBed(t)
	f := b.before()
	e := b.executor(&rest.Config{Host: f.server.URL})
	b.deployment("web", 1)
	target := b.target("web")
	const limit = 5 * time.Second
	for _, fault := range []struct {
		name string
		do   func(f *front, w http.ResponseWriter, r *http.Request)
		says string
	}{
		{"409", no(409, metav1.StatusReasonConflict), "409 says the test"},
		// client-go itself comes again as Retry-After says, and keeps what it heard for itself.
		{"429", no(429, metav1.StatusReasonTooManyRequests), "context deadline exceeded"},
		{"500", no(500, metav1.StatusReasonInternalError), "500 says the test"},
		{"hangs", hangs, "context deadline exceeded"},
	} {
		for _, act := range []struct {
			action string
			with   map[string]any
		}{
			{"kubernetes.scale", map[string]any{"by": 1, "max": 5}},
			{"kubernetes.resize_cpu", map[string]any{"max": 1}},
			{"kubernetes.evict_pod", map[string]any{"timeout": "3s"}},
		} {
			t.Run(fault.name+" "+act.action, func(t *testing.T) {
				b := &bed{T: t, Executor: e, namespace: b.namespace, config: b.config, admin: b.admin}
				p := b.plan(target, act.action, act.with)
				f.arm(1<<30, fault.do)
				defer f.arm(0, nil)
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				began := time.Now()
				x, err := e.Apply(ctx, p, 0)
				_, asked, made := f.counts()
				t.Logf("%.1f s, %d requests: %v", time.Since(began).Seconds(), asked, err)
				b.says(err, fault.says)
				if took := time.Since(began); took > limit+15*time.Second {
					t.Errorf("it took %s", took)
				}
				b.is("result", x.Result, "")
				b.is("changes that the API server made", made, 0)
				now := b.target("web")
				b.is("pod", now.PodUID, target.PodUID)
				b.is("CPU limit", b.pod(now).Spec.Containers[0].Resources.Limits.Cpu(), "200m")
				b.is("pods", len(b.pods("web")), 1)
			})
		}
	}
}
