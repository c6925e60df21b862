package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// answerOf is the API server's no.
func answerOf(r *http.Request, code int) *http.Response {
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"says the test","reason":%q,"code":%d}`,
		map[int]string{409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 403: "Forbidden"}[code], code)
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// An API server that is busy, broken, hangs, or loses its answers: the change is
// made once all the same, and is said to be this call's own.
func TestEditsThroughFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  func(next http.RoundTripper, r *http.Request) (*http.Response, error)
		method string
		times  int32
	}{
		{"409", refusing(409).fault, http.MethodPatch, 3},
		{"429", refusing(429).fault, http.MethodPatch, 3},
		{"500", refusing(500).fault, http.MethodPatch, 3},
		{"500 of reads", refusing(500).fault, http.MethodGet, 3},
		{"hangs", hanging, http.MethodPatch, 1},
		{"reads hang", hanging, http.MethodGet, 1},
		{"stored and the answer is lost", losing, http.MethodPatch, 1},
		{"stored and it hangs", storingThenHanging, http.MethodPatch, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "4")
			var armed atomic.Bool
			var left atomic.Int32
			left.Store(c.times)
			a := w.acting(intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
				if armed.Load() && r.Method == c.method && left.Add(-1) >= 0 {
					return c.fault(next, r)
				}
				return next.RoundTrip(r)
			}), "kubernetes.set_config")
			target := w.target("nobody")
			with := w.flag("large", "small")
			step := w.planned(a, target, with)
			armed.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			done, err := a.Apply(ctx, target, step)
			w.must(err)
			w.is("result", done.Result, "applied")
			w.is("value", w.flagged(), "small")
			if left.Load() > 0 {
				t.Error("the fault did not happen")
			}
		})
	}
}

// An API server that says no for good is believed.
func TestEditsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		code  int
		want  string
		sent  int32
		state string
	}{
		{403, "says the test", 1, ""},
		{409, "no success in 10 attempts", 10, ""},
		// A 500 may have been stored. That it was not is seen when it is put back.
		{500, "it was put back", 10, ""},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "4")
			var armed atomic.Bool
			var sent atomic.Int32
			a := w.acting(intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
				if armed.Load() && r.Method == http.MethodPatch {
					sent.Add(1)
					return answerOf(r, c.code), nil
				}
				return next.RoundTrip(r)
			}), "kubernetes.set_config")
			target := w.target("nobody")
			step := w.planned(a, target, w.flag("large", "small"))
			armed.Store(true)
			x, err := a.Apply(t.Context(), target, step)
			w.refusal(err, c.want)
			w.is("result", x.Result, "")
			w.is("value", w.flagged(), "large")
			if n := sent.Load(); n != c.sent {
				t.Errorf("%d patches were sent, want %d", n, c.sent)
			}
		})
	}
}

// When kmend is stopped over an answer that it waits for, the change may be
// there: the Execution says so, and Apply goes on from there later.
func TestEditThatIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "4")
	ctx, stop := context.WithCancel(t.Context())
	var armed atomic.Bool
	a := w.acting(intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if armed.Load() && r.Method == http.MethodPatch {
			answer, err := losing(next, r)
			stop()
			return answer, err
		}
		return next.RoundTrip(r)
	}), "kubernetes.set_config")
	target := w.target("nobody")
	step := w.planned(a, target, w.flag("large", "small"))
	armed.Store(true)
	x, err := a.Apply(ctx, target, step)
	w.refusal(err, "context canceled")
	w.is("result", x.Result, "applied")
	w.is("value", w.flagged(), "small")
	armed.Store(false)
	again, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("result", again.Result, "already applied")
	_, err = a.Undo(t.Context(), target, step, x)
	w.must(err)
	w.is("value", w.flagged(), "large")
}

// refusing answers with a status code.
type refusing int

func (code refusing) fault(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
	return answerOf(r, int(code)), nil
}

func hanging(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func losing(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if answer, err := next.RoundTrip(r); err == nil {
		answer.Body.Close()
	}
	return nil, errDown
}

func storingThenHanging(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if answer, err := next.RoundTrip(r); err == nil {
		answer.Body.Close()
	}
	return hanging(next, r)
}

// flag creates the ConfigMap "flags" and is the `with` that changes it.
func (w *world) flag(now, then string) map[string]any {
	w.Helper()
	_, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(w.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "flags"},
		Data: map[string]string{"model": now}}, metav1.CreateOptions{})
	w.must(err)
	return map[string]any{"name": "flags", "key": "model", "value": then}
}

func (w *world) flagged() string {
	w.Helper()
	m, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(w.Context(), "flags", metav1.GetOptions{})
	w.must(err)
	return m.Data["model"]
}

// Somebody changes the object between kmend's read and its patch: what is
// another field's is kept beside kmend's, the same field is left to them.
func TestEditsAndOthers(t *testing.T) {
	for _, c := range []struct{ name, theirs, want, err string }{
		{"another key", `{"data":{"other":"2"}}`, "small 2", ""},
		{"the same key", `{"data":{"model":"medium"}}`, "medium ", "somebody changed it since"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "4")
			var armed atomic.Bool
			a := w.acting(intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPatch && armed.CompareAndSwap(true, false) {
					_, err := w.admin.CoreV1().ConfigMaps(w.namespace).Patch(r.Context(), "flags", types.MergePatchType, []byte(c.theirs), metav1.PatchOptions{})
					if err != nil {
						return nil, err
					}
				}
				return next.RoundTrip(r)
			}), "kubernetes.set_config")
			target := w.target("nobody")
			step := w.planned(a, target, w.flag("large", "small"))
			armed.Store(true)
			_, err := a.Apply(t.Context(), target, step)
			if c.err != "" {
				w.refusal(err, c.err)
			} else {
				w.must(err)
			}
			m, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "flags", metav1.GetOptions{})
			w.must(err)
			w.is("data", m.Data["model"]+" "+m.Data["other"], c.want)
		})
	}
}
