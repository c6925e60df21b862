package app

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/workloads"
)

// served is a real agent over TLS; ca is the file of its certificate.
func served(t *testing.T, node string) (s *httptest.Server, ca string) {
	t.Helper()
	o := agent.DefaultOptions()
	o.NodeName = node
	a, err := agent.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s = httptest.NewUnstartedServer(agent.NewHandler(a))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		s.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, ca
}

// A node whose agent does not answer is missing, and the first certificate that
// expires is known also when its agent is gone.
func TestFleet(t *testing.T) {
	s, ca := served(t, "n1")
	c := DefaultConfig().Agents
	c.Local, c.CAFile = false, ca
	c.Static = []StaticAgent{{Node: "N1", URL: s.URL}, {Node: "n2", URL: "https://127.0.0.1:1"}}
	reg := prometheus.NewRegistry()
	var log strings.Builder
	f := &fleet{config: c, node: "here", metrics: NewMetrics(reg), log: slog.New(slog.NewTextHandler(&log, nil)), answers: map[string]agentAnswer{}}
	expires := s.Certificate().NotAfter.Unix()
	looks := func(present, missing, answered, failed int, expires int64) {
		t.Helper()
		if err := f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, v := range map[string]struct {
			c    prometheus.Collector
			want float64
		}{
			"present": {f.metrics.nodes.WithLabelValues("present"), float64(present)}, "missing": {f.metrics.nodes.WithLabelValues("missing"), float64(missing)},
			"answered": {f.metrics.asks.WithLabelValues("answered"), float64(answered)}, "failed": {f.metrics.asks.WithLabelValues("failed"), float64(failed)},
			"expires": {f.metrics.certificate, float64(expires)},
		} {
			if got := testutil.ToFloat64(v.c); got != v.want {
				t.Errorf("%s is %.0f, want %.0f", what, got, v.want)
			}
		}
	}
	looks(1, 1, 1, 1, expires)
	looks(1, 1, 2, 2, expires)
	if n := strings.Count(log.String(), "nodes=n2"); n != 1 {
		t.Errorf("the missing node is named %d times, want once:\n%s", n, log.String())
	}
	f.config.Static[1].URL = s.URL
	looks(2, 0, 4, 2, expires)
	s.Close()
	looks(0, 2, 4, 4, expires)
	f.answers["n1"] = agentAnswer{expires: time.Unix(1e9, 0)} // and has expired since
	looks(0, 2, 4, 6, 1e9)
	f.config.Local, f.config.Static = true, f.config.Static[1:]
	looks(0, 2, 4, 8, expires) // the local one is asked, too; who is gone counts no more
	f.config.Static = nil
	looks(0, 1, 4, 9, 0)
}

// Every node has its turn: all of a few each minute, all of many within an hour.
func TestFleetTurns(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 480, 481, 5000} {
		f := &fleet{}
		urls := map[string]string{"none": ""}
		for i := range n {
			urls[fmt.Sprintf("node-%d", i)] = "x"
		}
		asked, turns := map[string]int{}, 0
		for ; len(asked) < n && turns < 100; turns++ {
			for _, node := range f.turn(urls) {
				asked[node]++
			}
		}
		most := 0
		for _, times := range asked {
			most = max(most, times)
		}
		if len(asked) != n || turns > 60 || most > 2 || asked["none"] > 0 {
			t.Errorf("of %d nodes %d were asked in %d turns, one %d times", n, len(asked), turns, most)
		}
	}
}

// In a cluster, the nodes are those that have pods; the agent of this process stands for
// its own node, also where the cluster knows that by its short name.
func TestFleetOfACluster(t *testing.T) {
	s, ca := served(t, "n1")
	at := s.Listener.Addr().(*net.TCPAddr)
	pod := func(namespace, name, node, ip string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip}}
	}
	agents := map[string]string{"app": "agent"}
	o := workloads.DefaultOptions()
	o.Client = fake.NewClientset(pod("kmend", "a1", "n1", at.IP.String(), agents), pod("shop", "web", "n2", "10.0.0.9", nil), pod("shop", "db", "n3", "10.0.0.8", nil))
	w, err := workloads.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	c := DefaultConfig().Agents
	c.Local, c.CAFile = false, ca
	c.Kubernetes = &AgentPods{Namespace: "kmend", Selector: "app=agent", Port: at.Port}
	f := &fleet{config: c, node: "n3.example.test", cluster: w, metrics: NewMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler), answers: map[string]agentAnswer{}}
	for _, tt := range []struct {
		local            bool
		missing, present float64
	}{{false, 2, 1}, {true, 2, 1}} {
		f.config.Local = tt.local
		if err := f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		missing, present := testutil.ToFloat64(f.metrics.nodes.WithLabelValues("missing")), testutil.ToFloat64(f.metrics.nodes.WithLabelValues("present"))
		if missing != tt.missing || present != tt.present {
			t.Errorf("local %v: %.0f nodes without an agent and %.0f with one, want %.0f and %.0f", tt.local, missing, present, tt.missing, tt.present)
		}
	}
	if n := testutil.ToFloat64(f.metrics.asks.WithLabelValues("failed")); n != 1 {
		t.Errorf("%.0f questions failed, want that to the agent of this process, which is not there", n)
	}
}
