package app

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kmend/kmend/diagnose/agent"
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
	f.config.Static = f.config.Static[:1]
	looks(0, 1, 4, 5, expires)
	f.config.Local = true
	looks(0, 2, 4, 7, expires) // the local one is asked, too
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
