package kubernetes_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/remediate/action/kubernetes"
)

// faults is an API server that can be made to fail: both counters say how many
// requests are still to fail.
type faults struct {
	http.RoundTripper
	reads atomic.Int32 // GETs that do not reach it
	lost  atomic.Int32 // PATCHes that it stores and whose answer gets lost
	down  atomic.Int32 // GETs that fail after each such PATCH
}

var errDown = errors.New("connection refused, says the test")

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && f.reads.Add(-1) >= 0 {
		return nil, errDown
	}
	answer, err := f.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodPatch && !r.URL.Query().Has("dryRun") && f.lost.Add(-1) >= 0 {
		answer.Body.Close()
		f.reads.Store(f.down.Load())
		return nil, errDown
	}
	return answer, err
}

func (w *world) faulty() (*kubernetes.ResizeCPU, *faults) {
	w.Helper()
	f := &faults{}
	config := cluster(w.T)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { f.RoundTripper = next; return f }
	c, err := client.NewForConfig(config)
	w.must(err)
	a, err := kubernetes.NewResizeCPU(c, kubernetes.Options{Wait: 10 * time.Second, Poll: 20 * time.Millisecond})
	w.must(err)
	return a, f
}

// The API server is away for a moment, when it matters most.
func TestTransientFaults(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	w.kubelet("web", resized)
	a, f := w.faulty()
	target := w.target("web")
	step := w.preview(a, target, double)

	// Stored, the answer lost, and nobody there to ask: it is this call's change all the same.
	f.lost.Store(1)
	f.down.Store(2)
	done, err := a.Apply(t.Context(), target, step)
	w.must(err)
	w.is("result", done.Result, "applied")
	w.is("cpu", w.cpu("web"), "400m 100m")

	f.reads.Store(1)
	undone, err := a.Undo(t.Context(), target, step, done)
	w.must(err)
	w.is("result", undone.Result, "undone")
	w.is("cpu", w.cpu("web"), "200m 100m")

	f.reads.Store(1)
	done, err = a.Apply(t.Context(), target, w.preview(w.resizer(time.Second), target, double))
	w.must(err)
	w.is("result of an apply whose first read failed", done.Result, "applied")
}

// An API server that stays away after it stored the patch: the change is put
// back when it answers again, else it is said to be there, with what Undo needs.
func TestLastingFault(t *testing.T) {
	w := newWorld(t, "4")
	w.pod("web", []corev1.Container{burstable("100m", "200m")})
	a, f := w.faulty()
	target := w.target("web")
	step := w.preview(a, target, double)
	f.lost.Store(1)
	f.down.Store(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	back := time.AfterFunc(time.Second, func() { f.reads.Store(0) })
	defer back.Stop()
	x, err := a.Apply(ctx, target, step)
	w.refusal(err, "says the test")
	w.refusal(err, "the limit was put back to 0.2 CPU")
	w.is("result", x.Result, "")
	w.is("cpu", w.cpu("web"), "200m 100m")

	step = w.preview(a, target, double) // putting back was a change of the spec
	f.lost.Store(1)
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(400*time.Millisecond, cancel)
	x, err = a.Apply(ctx, target, step)
	w.refusal(err, "context canceled")
	w.is("result", x.Result+" "+x.State["was_limit_m"], "applied 200")
	w.is("cpu", w.cpu("web"), "400m 100m")
}
