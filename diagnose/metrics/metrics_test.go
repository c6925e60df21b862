package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
	client "github.com/kmend/kmend/internal/prometheus"
	"github.com/kmend/kmend/test/prometheus"
)

const rules = `
groups:
  - name: shop
    rules:
      - alert: CartSlow
        expr: avg_over_time(request_seconds{namespace="shop"}[1m]) > 0.5 and on() vector(1) > 0
        for: 2m
      - alert: ShopSlow
        expr: max(request_seconds) > 0.5
`

const cartSlow = `avg_over_time(request_seconds{namespace="shop"}[1m]) > 0.5 and on () vector(1) > 0`

// history is three hours of five pods, of which cart-3 got slow twelve minutes ago;
// then, one of ten requests began to fail.
func history(now time.Time) string {
	var b strings.Builder
	each := func(name string, value func(ago time.Duration) float64) {
		for ago := 3 * time.Hour; ago >= 0; ago -= 15 * time.Second {
			fmt.Fprintf(&b, "%s %g %d\n", name, value(ago), now.Add(-ago).Unix())
		}
	}
	const fault = 12 * time.Minute
	b.WriteString("# TYPE request_seconds gauge\n")
	for n := 1; n <= 5; n++ {
		each(fmt.Sprintf(`request_seconds{namespace="shop",pod="cart-%d"}`, n), func(ago time.Duration) float64 {
			if n == 3 && ago <= fault {
				return 0.9
			}
			return 0.05 + float64(n)/1000
		})
	}
	each(`request_seconds{namespace="other",pod="cart-1"}`, func(time.Duration) float64 { return 99 })
	b.WriteString("# TYPE requests counter\n")
	each("requests_total", func(ago time.Duration) float64 { return 1e6 - 100*ago.Seconds() })
	b.WriteString("# TYPE failures counter\n")
	each("failures_total", func(ago time.Duration) float64 { return 10 * max(0, (fault-ago).Seconds()) })
	b.WriteString("# EOF\n")
	return b.String()
}

// start runs a real Prometheus with that history.
func start(t *testing.T) *prometheus.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Prometheus; `make test` runs it")
	}
	s, err := prometheus.StartWith(t.Context(), prometheus.Options{Dir: t.TempDir(), Target: "127.0.0.1:1", Rules: rules, History: history(time.Now())})
	must(t, err)
	t.Cleanup(func() { must(t, s.Stop(10*time.Second)) })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// five are the pods of deployment shop/cart.
type five struct{}

func (five) Siblings(_ context.Context, t incident.Target) ([]incident.Target, error) {
	if t.Workload != "Deployment/cart" && !strings.HasPrefix(t.Pod, "cart-") {
		return nil, errors.New("belongs to no workload")
	}
	return pods(), nil
}

func pods() (all []incident.Target) {
	for n := 1; n <= 5; n++ {
		all = append(all, incident.Target{Namespace: "shop", Pod: fmt.Sprintf("cart-%d", n), Node: "n1"})
	}
	return all
}

func metrics(t *testing.T, at string, change func(*Options)) *Metrics {
	t.Helper()
	api, err := client.New(at, nil)
	must(t, err)
	o := DefaultOptions()
	o.API, o.Workloads = api, five{}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	must(t, err)
	return m
}

// slow is an incident of deployment shop/cart whose investigation came to a pod.
func slow(pod, name, expr string) incident.Incident {
	link := "http://prometheus.test/graph?" + url.Values{"g0.expr": {expr}, "g0.tab": {"1"}}.Encode()
	inc := incident.Incident{Target: incident.Target{Namespace: "shop", Workload: "Deployment/cart"}, Alerts: []incident.Alert{{
		Status: incident.Firing, StartsAt: time.Now().Add(-9 * time.Minute), GeneratorURL: link,
		Labels: map[string]string{"alertname": name, "namespace": "shop", "pod": pod, "deployment": "cart", "severity": "page"}}}}
	inc.Diagnosis = &incident.Diagnosis{Investigation: &incident.Investigation{Hops: []incident.Hop{{Target: incident.Target{Namespace: "shop", Pod: pod}}}}}
	return inc
}

// told is what was said of one kind.
func told(o investigate.Observed, kind string) (said []string) {
	for _, n := range o.Observations {
		if n.Kind == kind {
			said = append(said, strings.TrimSpace(string(n.Stance)+" "+n.Message))
		}
	}
	return said
}

func TestARealPrometheus(t *testing.T) {
	s := start(t)
	seconds := Suspect{Alert: regexp.MustCompile("^(?:Shop.*|Cart.*)$"), Query: `request_seconds{namespace="$namespace",pod=~"$pods"}`, PodLabel: "pod"}
	slo := SLO{Name: "cart-requests", Target: incident.Target{Namespace: "shop", Workload: "Deployment/cart"}, Objective: 0.99, Window: 2 * time.Hour,
		Requests: "sum(increase(requests_total[$window]))", Errors: "sum(increase(failures_total[$window]))"}

	t.Run("the alert, its pod and its budget", func(t *testing.T) {
		m := metrics(t, s.URL, func(o *Options) { o.SLOs = []SLO{slo} })
		got, err := m.Observe(t.Context(), slow("cart-3", "CartSlow", cartSlow))
		must(t, err)
		for kind, want := range map[string]string{
			"alert":     `alert "CartSlow": avg_over_time(request_seconds{namespace="shop"}[1m]) is 0.9 now, and the rule fires at > 0.5 for 2m, over a window of 1m`,
			"baseline":  `in the 1h before it was 0.053 (the median of 61 values); it is 16.98 times that now`,
			"outlier":   `supports cart-3 is an outlier among its 4 siblings: 0.9 against a median of 0.054`,
			"burn_rate": `SLO cart-requests (99%) burns its error budget: 10 times over 5m, 2 times over 1h; 0`, // and its decimals
		} {
			said := told(got, kind)
			if len(said) != 1 || !strings.HasPrefix(said[0], want) && kind != "burn_rate" {
				t.Errorf("%s: %q\nwant %q", kind, said, want)
			}
		}
		values := map[string]float64{}
		for n, e := range got.Evidence {
			if e.ID != fmt.Sprintf("m%d", n+1) || e.Probe != "prometheus" {
				t.Errorf("evidence %+v", e)
			}
			values[e.Metric+" of "+e.Subject] = e.Value
		}
		// 10% of the requests have failed for 12 minutes: 10 times what the objective
		// allows, and 1.2 of the 2 minutes that an hour, and all of them that 2 hours have.
		for what, want := range map[string]float64{"burn rate over 5m of cart-requests": 10, "burn rate over 1h of cart-requests": 2, "error budget left of cart-requests": 0} {
			if got := values[what]; got < want-0.3 || got > want+0.3 && want > 0 || got > 3 && want == 0 {
				t.Errorf("%s is %v, want about %v; all: %v", what, got, want, values)
			}
		}
		for _, o := range got.Observations {
			if len(o.Evidence) == 0 || o.Source != "prometheus" {
				t.Errorf("%+v cites nothing", o)
			}
		}
	})

	t.Run("an expression that Prometheus has not", func(t *testing.T) {
		for name, tt := range map[string]struct{ alert, expr, want string }{
			"of another rule": {"CartSlow", "max(request_seconds) > 0.5", `the expression of alert "CartSlow" is not known: prometheus has rules "CartSlow", and none with the expression in the alert's link`},
			"of no rule":      {"Mine", `count({__name__=~".+"})`, `prometheus has no rule "Mine": the expression in the alert's link is not asked`},
			"none":            {"CartSlow", "", "has no expression of Prometheus (g0.expr)"},
		} {
			got, err := metrics(t, s.URL, nil).Observe(t.Context(), slow("cart-3", tt.alert, tt.expr))
			must(t, err)
			if said := told(got, "alert"); len(said) != 1 || !strings.Contains(said[0], tt.want) || len(told(got, "baseline"))+len(got.Evidence) != 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})

	t.Run("what is no pod", func(t *testing.T) {
		inc := slow("cart-3", "CartSlow", cartSlow)
		inc.Diagnosis, inc.Target = nil, incident.Target{Cgroup: "/a"}
		got, err := metrics(t, s.URL, func(o *Options) { o.Workloads = nil }).Observe(t.Context(), inc)
		must(t, err)
		if said := told(got, "outlier"); len(said) != 1 || said[0] != `supports {namespace="shop", pod="cart-3"} is an outlier among its 4 siblings: 0.9 against a median of 0.054` {
			t.Errorf("%q", said)
		}
	})

	t.Run("a pod that is as the others", func(t *testing.T) {
		got, err := metrics(t, s.URL, func(o *Options) { o.Suspects = []Suspect{seconds} }).Observe(t.Context(), slow("cart-1", "ShopSlow", "max(request_seconds) > 0.5"))
		must(t, err)
		if said := told(got, "outlier"); len(said) != 1 || said[0] != "contradicts cart-1 is as its siblings (0.051, median 0.054), and cart-3 is the outlier: 0.9" {
			t.Errorf("%q", said)
		}
	})

	t.Run("the suspicious pods first", func(t *testing.T) {
		for name, tt := range map[string]struct {
			suspects []Suspect
			inc      incident.Incident
			want     string
		}{
			"by the configured query":      {[]Suspect{{Alert: regexp.MustCompile("^Other$"), Query: "x"}, {Labels: map[string]string{"severity": "ticket"}, Query: "x"}, seconds}, slow("", "ShopSlow", ""), "cart-3 cart-5 cart-4 cart-2 cart-1"},
			"by the alert's own":           {nil, slow("", "CartSlow", cartSlow), "cart-3 cart-5 cart-4 cart-2 cart-1"},
			"nothing for it":               {nil, slow("", "Mine", "up"), "no query of prometheus.suspects is for the alert, and prometheus has no rule"},
			"an expression without pods":   {nil, slow("", "ShopSlow", "max(request_seconds) > 0.5"), "none of the pods is among the 1 series"},
			"a placeholder that is empty":  {[]Suspect{{Query: `up{service="$service"}`, PodLabel: "pod"}}, slow("", "Mine", ""), "$service is not known of this target"},
			"a name that ends the string":  {[]Suspect{{Query: `up{ns="$namespace"}`, PodLabel: "pod"}}, incident.Incident{Target: incident.Target{Namespace: `a"} or up #`}, Alerts: []incident.Alert{{}}}, "which has no place in a query"},
			"more series than are allowed": {[]Suspect{{Query: `request_seconds`, PodLabel: "pod"}}, slow("", "Mine", ""), "more than 5 series"},
		} {
			ranked, why, err := metrics(t, s.URL, func(o *Options) { o.Suspects, o.MaxSeries = tt.suspects, 5 }).Rank(t.Context(), tt.inc, pods())
			if err != nil {
				why = err.Error()
			}
			var names []string
			for _, p := range ranked {
				names = append(names, p.Pod)
			}
			if strings.Join(names, " ") != tt.want && !strings.Contains(why, tt.want) {
				t.Errorf("%s: %q, %s", name, names, why)
			}
			if err == nil && !strings.HasPrefix(why, "the suspicious pods first by Prometheus (cart-3 0.9, cart-5 0.055, cart-4 0.054; ") {
				t.Errorf("%s: why %q", name, why)
			}
		}
	})
}

// A Prometheus that does not answer, or says that it does not know all, is said so.
func TestPrometheusInTrouble(t *testing.T) {
	for name, tt := range map[string]struct{ answer, want string }{
		"fails": {"", "502"},
		"warns": {`{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["one store is away"]}`, "one store is away"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.answer == "" {
				w.WriteHeader(http.StatusBadGateway)
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, tt.answer)
		}))
		defer s.Close()
		m := metrics(t, s.URL, func(o *Options) { o.Suspects = []Suspect{{Query: "up", PodLabel: "pod"}} })
		if _, _, err := m.Rank(t.Context(), slow("", "Mine", ""), pods()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutliers(t *testing.T) {
	for name, tt := range map[string]struct {
		x    float64
		all  []float64
		want bool
	}{
		"far above":             {9, []float64{1, 1.1, 0.9, 1.2, 9}, true},
		"far below":             {0, []float64{10, 10.1, 9.9, 10.2, 0}, false},
		"wide":                  {9, []float64{1, 5, 3, 7, 9}, false},
		"all the same":          {1, []float64{1, 1, 1, 1}, false},
		"the same but one":      {2, []float64{1, 1, 1, 2}, true},
		"the same but a little": {1.01, []float64{1, 1, 1, 1.01}, false},
		"zeros but one":         {0.1, []float64{0, 0, 0, 0.1}, true},
	} {
		if got := isOutlier(tt.x, tt.all); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestComparisons(t *testing.T) {
	for expr, want := range map[string]string{
		"a > 1": "a | > 1", "(a > 1)": "a | > 1", "a > 1 and b > 2": "a | > 1", "a > 1 unless b": "a | > 1", "a": "a | ",
		"a / b >= bool 0.5": "a / b | >= 0.5", "a > b * 2": "a | > b * 2", "absent(a)": "absent(a) | ", "1 < a": "a | 1 <",
	} {
		r, err := analyse(v1.AlertingRule{Query: expr})
		if got := r.value + " | " + r.limit; err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", expr, got, err, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	slo := SLO{Name: "s", Objective: 0.9, Window: time.Hour, Errors: "a[$window]", Requests: "b"}
	for want, change := range map[string]func(*Options){
		"API":            func(o *Options) { o.API = nil },
		"Baseline":       func(o *Options) { o.Baseline = 0 },
		"MaxSeries":      func(o *Options) { o.MaxSeries = 0 },
		"Now":            func(o *Options) { o.Now = nil },
		"$cluster is no": func(o *Options) { o.Suspects = []Suspect{{Query: "x{a=\"$cluster\"}"}} },
		"inside braces":  func(o *Options) { o.Suspects = []Suspect{{Query: "x{"}} },
		"objective":      func(o *Options) { s := slo; s.Objective = 99.9; o.SLOs = []SLO{s} },
		"window of SLO":  func(o *Options) { s := slo; s.Window = 0; o.SLOs = []SLO{s} },
		"$pods is no":    func(o *Options) { s := slo; s.Errors = "$pods"; o.SLOs = []SLO{s} },
	} {
		o := DefaultOptions()
		api, err := client.New("http://127.0.0.1:1", nil)
		must(t, err)
		o.API = api
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}
