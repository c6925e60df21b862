package workloads

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/incident"
)

// The first list of a large cluster takes longer than a question waits: who cannot do
// without waits for it, and no longer than it is on its way.
func TestListed(t *testing.T) {
	s := open(t)
	s.pod("db-0", "StatefulSet/db", "n1", "10.0.1.3", nil)
	config := server.Config(t)
	come := make(chan struct{})
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return through(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/pods") {
				select {
				case <-come:
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			return next.RoundTrip(r)
		})
	}
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	w := watch(t, client, 50*time.Millisecond)
	db := incident.Target{Namespace: s.ns, Workload: "StatefulSet/db"}
	if _, err := w.Pods(t.Context(), db); err == nil || !strings.Contains(err.Error(), "has not come within 50ms") {
		t.Errorf("error is %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	w.Listed(soon)
	if soon.Err() == nil {
		t.Error("it did not wait for the list")
	}
	time.AfterFunc(300*time.Millisecond, func() { close(come) })
	w.Listed(t.Context())
	if got := names(w.Pods(t.Context(), db)); got != "db-0@n1" {
		t.Errorf("pods are %s", got)
	}

	// A list that is refused is not on its way.
	no := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer no.Close()
	client, err = kubernetes.NewForConfig(&rest.Config{Host: no.URL})
	must(t, err)
	w, began := watch(t, client, time.Second), time.Now()
	w.Listed(t.Context())
	if took := time.Since(began); took > firstLists/2 {
		t.Errorf("it waited for %s where it is refused", took)
	}
}

// A cluster that does not answer holds up nobody for long.
func TestWithoutACluster(t *testing.T) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	must(t, err)
	w := watch(t, client, 300*time.Millisecond)
	_, err = w.Pods(t.Context(), incident.Target{Namespace: "shop", Service: "cart"})
	if err == nil || !strings.Contains(err.Error(), "listing pods of the cluster") && !strings.Contains(err.Error(), "has not come within 300ms") {
		t.Errorf("error is %v", err)
	}
	o := DefaultOptions()
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "kubernetes.enabled") {
		t.Errorf("without a client: %v", err)
	}
	o.Client, o.Patience = fake.NewClientset(), 0
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "Patience") {
		t.Errorf("without patience: %v", err)
	}
	o.Patience, o.Logger = time.Second, nil
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "Logger") || errors.Unwrap(err) == nil {
		t.Errorf("without a logger: %v", err)
	}
}
