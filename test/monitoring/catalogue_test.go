package monitoring

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/agent/tokenreview"
	"github.com/kmend/kmend/diagnose/logs"
	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/internal/respond"
	"github.com/kmend/kmend/internal/tracing"
	"github.com/kmend/kmend/remediate"
	"github.com/kmend/kmend/report/llm"
	"github.com/kmend/kmend/report/pagerduty"
	slackout "github.com/kmend/kmend/report/slack"
	"github.com/kmend/kmend/webhook"
	slackin "github.com/kmend/kmend/webhook/slack"
)

const root = "../.."

// makers register the metrics of each package, by its folder.
var makers = map[string]func(prometheus.Registerer) error{
	"webhook":                    func(r prometheus.Registerer) error { webhook.NewMetrics(r); return nil },
	"webhook/slack":              func(r prometheus.Registerer) error { slackin.NewMetrics(r); return nil },
	"internal/respond":           func(r prometheus.Registerer) error { respond.NewMetrics(r); return nil },
	"internal/app":               func(r prometheus.Registerer) error { app.NewMetrics(r); return nil },
	"internal/tracing":           func(r prometheus.Registerer) error { tracing.NewMetrics(r); return nil },
	"diagnose":                   func(r prometheus.Registerer) error { diagnose.NewMetrics(r); return nil },
	"diagnose/logs":              func(r prometheus.Registerer) error { logs.NewMetrics(r); return nil },
	"remediate":                  func(r prometheus.Registerer) error { remediate.NewMetrics(r); return nil },
	"report/slack":               func(r prometheus.Registerer) error { slackout.NewMetrics(r); return nil },
	"report/pagerduty":           func(r prometheus.Registerer) error { pagerduty.NewMetrics(r); return nil },
	"report/llm":                 func(r prometheus.Registerer) error { llm.NewMetrics(r); return nil },
	"diagnose/agent/tokenreview": func(r prometheus.Registerer) error { tokenreview.NewMetrics(r); return nil },
	"diagnose/agent": func(r prometheus.Registerer) error {
		o := agent.DefaultOptions()
		o.Registerer = r
		a, err := agent.New(o)
		if err != nil {
			return err
		}
		return a.Close()
	},
}

// metric is one that is exported.
type metric struct {
	name, kind, help string
	labels           []string
	values           map[string][]string // by label: what it has from the start, where it has any
}

// reader is a registerer that keeps what it is given.
type reader struct {
	t       *testing.T
	metrics map[string]metric
}

func (r *reader) Register(c prometheus.Collector) error { r.MustRegister(c); return nil }

func (r *reader) Unregister(prometheus.Collector) bool { return false }

// described is prometheus.Desc.String, which alone says the labels of a metric
// without values.
var described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

func (r *reader) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			parts := described.FindStringSubmatch(d.String())
			if parts == nil {
				r.t.Fatalf("%s is written in another way than this test reads", d)
			}
			m := metric{kind: kindOf(c), values: map[string][]string{}}
			var err, err2 error
			if m.name, err = strconv.Unquote(parts[1]); err == nil {
				m.help, err2 = strconv.Unquote(parts[2])
			}
			if err != nil || err2 != nil {
				r.t.Fatal(err, err2)
			}
			if parts[3] != "" {
				m.labels = strings.Split(parts[3], ",")
			}
			r.metrics[m.name] = m
		}
		r.begin(c)
	}
}

// begin reads the values that labels have from the start.
func (r *reader) begin(c prometheus.Collector) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, child := range f.GetMetric() {
			for _, l := range child.GetLabel() {
				m := r.metrics[f.GetName()]
				m.values[l.GetName()] = append(m.values[l.GetName()], l.GetValue())
			}
		}
	}
}

func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec, prometheus.Gauge: // a Gauge has all that a Counter has
		return "gauge"
	case *prometheus.HistogramVec, prometheus.Histogram:
		return "histogram"
	case prometheus.Counter:
		return "counter"
	}
	return "other"
}

// exported are the metrics of kmend and its agent by name, and by who exports them.
func exported(t *testing.T) (all map[string]metric, by map[string][]string) {
	t.Helper()
	all, by = map[string]metric{}, map[string][]string{}
	for dir, register := range makers {
		r := &reader{t, map[string]metric{}}
		if err := register(r); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for name, m := range r.metrics {
			if other, twice := all[name]; twice {
				t.Errorf("%s is exported twice: %+v and %+v", name, other, m)
			}
			all[name] = m
		}
		by[dir] = slices.Sorted(maps.Keys(r.metrics))
	}
	return all, by
}

// withProcess adds what client_golang says of a process.
func withProcess(t *testing.T, all map[string]metric) map[string]metric {
	t.Helper()
	r := &reader{t, maps.Clone(all)}
	r.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r.metrics
}

// No package with metrics is forgotten: all that call themselves so are among makers,
// and nobody makes a metric elsewhere.
func TestEveryPackageWithMetricsIsKnown(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || path == filepath.Join(root, "test") || d.Name() == "testdata") {
			if d != nil && d.IsDir() && err == nil && path != root {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := call.X.(*ast.Ident); ok && (x.Name == "prometheus" || x.Name == "promauto") && regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary|Untyped|Desc)`).MatchString(call.Sel.Name) {
				dir, _ := filepath.Rel(root, filepath.Dir(path))
				found[dir] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(makers)); !slices.Equal(got, want) {
		t.Errorf("metrics are made in %v\nknown here are %v", got, want)
	}
}
