package guard_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/guard"
	prom "github.com/kmend/kmend/internal/prometheus"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/policies"
	"github.com/kmend/kmend/test/prometheus"
)

// policy writes a policy with one error budget over two queries.
func policy(t *testing.T, requests, failed string) *policies.Set {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.yaml")
	must(t, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: kmend.dev/v1
kind: Policy
metadata: {name: p}
dryRun: false
rules: [{name: all, decide: allow, reason: agreed}]
guards:
  errorBudgets:
    - {name: b, objective: 0.99, minRequests: 100, below: 0.5, requests: %q, errors: %q}
`, requests, failed), 0o600))
	set, err := policies.Load([]string{path})
	must(t, err)
	return set
}

// ask gathers the facts for a plan on a host in namespace shop.
func ask(t *testing.T, set *policies.Set, p *guard.Prometheus) policies.Facts {
	t.Helper()
	g, err := guard.New(guard.Options{Policies: set, History: nothing{}, Prometheus: p})
	must(t, err)
	target := incident.Target{Namespace: "shop", Cgroup: "/a"}
	return g.Facts(t.Context(), incident.Incident{Target: target}, incident.Plan{Target: target})
}

func asking(t *testing.T, url string, token *secret.File) *guard.Prometheus {
	t.Helper()
	c, err := prom.New(url, token)
	must(t, err)
	return guard.NewPrometheus(c)
}

// Budgets are read from a real Prometheus that scraped a real exporter.
func TestBudgetOfARealPrometheus(t *testing.T) {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "http_requests_total{namespace=\"shop\",code=\"200\"} 990\nhttp_requests_total{namespace=\"shop\",code=\"500\"} 10\nhttp_requests_total{namespace=\"bar\",code=\"500\"} 7\n")
	}))
	defer exporter.Close()
	s, err := prometheus.Start(t.Context(), t.TempDir(), exporter.Listener.Addr().String())
	must(t, err)
	defer func() { must(t, s.Stop(10*time.Second)) }()
	p := asking(t, s.URL, nil)
	const all = `sum(http_requests_total{namespace="$namespace"})`
	for deadline := time.Now().Add(20 * time.Second); ask(t, policy(t, all, all), p).Missing["p/b"] != ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was scraped in 20 s")
		}
	}
	for _, tt := range []struct{ name, requests, failed, missing string }{
		{"sums", all, `sum(http_requests_total{namespace="$namespace",code="500"})`, ""},
		{"a scalar", "scalar(" + all + ")", "10", ""},
		{"no errors at all", all, `sum(http_requests_total{namespace="$namespace",code="503"})`, ""},
		{"no series", "nothing_like_it", "0", "there are no series"},
		{"not summed up", `http_requests_total`, "0", "3 series, want one number: sum them up"},
		{"no PromQL", `sum(`, "0", "parse error"},
		{"a range", `http_requests_total[5m]`, "0", "want one number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ask(t, policy(t, tt.requests, tt.failed), p)
			if tt.missing != "" {
				if !strings.Contains(f.Missing["p/b"], tt.missing) {
					t.Errorf("missing %q, want %q in it", f.Missing["p/b"], tt.missing)
				}
				return
			}
			want := policies.Budget{Requests: 1000, Errors: 10}
			if strings.Contains(tt.failed, "503") {
				want.Errors = 0
			}
			if f.Budgets["p/b"] != want || len(f.Missing) > 0 {
				t.Errorf("%+v, missing %v; want %+v", f.Budgets, f.Missing, want)
			}
		})
	}
}

// Whatever is wrong with Prometheus, the budget is missing, and no token goes
// where the configuration does not say.
func TestPrometheusInTrouble(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte("hunter2\n"), 0o600))
	token, err := secret.Open(path)
	must(t, err)
	var stolen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = append(stolen, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		missing string
	}{
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		}, "it redirects"},
		"fails":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502"},
		"something else": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "asking Prometheus for the requests"},
		"never ends": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"1"]},"x":"%s"}`, strings.Repeat("x", 9<<20))
		}, "asking Prometheus for the requests"},
		"warns": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"1"]},"warnings":["one store is away"]}`)
		}, "one store is away"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer hunter2" {
					t.Errorf("authorization %q", got)
				}
				tt.answer(w, r)
			}))
			defer s.Close()
			p := asking(t, s.URL, token)
			f := ask(t, policy(t, "x", "y"), p)
			if !strings.Contains(f.Missing["p/b"], tt.missing) || strings.Contains(f.Missing["p/b"], "hunter2") {
				t.Errorf("missing %q, want %q in it", f.Missing["p/b"], tt.missing)
			}
		})
	}
	p := asking(t, "http://"+closed.Addr().String(), token)
	if f := ask(t, policy(t, "x", "y"), p); !strings.Contains(f.Missing["p/b"], "connection refused") {
		t.Errorf("nobody there: %v", f.Missing)
	}
	if f := ask(t, policy(t, "x", "y"), nil); !strings.Contains(f.Missing["p/b"], "prometheus.url") {
		t.Errorf("not configured: %v", f.Missing)
	}
	if len(stolen) > 0 {
		t.Errorf("the token went elsewhere: %q", stolen)
	}
}

// A name that an alert made up does not become a part of a query.
func TestPlaceholdersAreNames(t *testing.T) {
	set := policy(t, `sum(x{ns="$namespace"})`, "0")
	target := incident.Target{Namespace: `a"} or vector(1) #`, Cgroup: "/a"}
	queries, broken := set.Budgets(incident.Incident{}, incident.Plan{Target: target})
	if len(queries) > 0 || !strings.Contains(broken["p/b"], "has no place in a query") {
		t.Errorf("queries %v, broken %v", queries, broken)
	}
}
