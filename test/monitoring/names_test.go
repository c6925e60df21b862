package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const (
	rulesFile     = root + "/deploy/chart/kmend/files/alerts.yaml"
	dashboardFile = root + "/deploy/chart/kmend/files/dashboard.json"
)

// rules is a file of Prometheus' rule groups.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (r rules) all() (all []rule) {
	for _, g := range r.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func readRules(t *testing.T, path string) (r rules) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &r); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return r
}

// scraped are the labels that Prometheus adds.
var scraped = []string{"job", "instance"}

// misspelt says what in an expression nobody exports: metrics, their labels, and values
// of labels that have all theirs from the start.
func misspelt(expr string, known map[string]metric) (problems []string) {
	e, err := parser.ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, ok := known[s.Name]
		suffixes := []string{"_bucket", "_sum", "_count"}
		for _, suffix := range suffixes {
			if h, is := known[strings.TrimSuffix(s.Name, suffix)]; !ok && is && h.kind == "histogram" && strings.HasSuffix(s.Name, suffix) {
				m, ok = h, true
			}
		}
		if !ok || m.kind == "histogram" && m.name == s.Name {
			problems = append(problems, fmt.Sprintf("no metric %s", s.Name))
			return nil
		}
		has := slices.Concat(m.labels, scraped)
		if strings.HasSuffix(s.Name, "_bucket") {
			has = append(has, "le")
		}
		for _, matcher := range s.LabelMatchers {
			if matcher.Name == labels.MetricName {
				continue
			}
			if !slices.Contains(has, matcher.Name) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", s.Name, matcher.Name))
				continue
			}
			problems = append(problems, unknownValues(m, matcher)...)
		}
		for _, label := range grouped(path) {
			if !slices.Contains(has, label) {
				problems = append(problems, fmt.Sprintf("%s has no label %s to group or match by", s.Name, label))
			}
		}
		return nil
	})
	return problems
}

// unknownValues are those that a matcher names and that no series has from the start.
func unknownValues(m metric, matcher *labels.Matcher) (problems []string) {
	values := m.values[matcher.Name]
	if len(values) == 0 || matcher.Value == "" {
		return nil
	}
	wanted := []string{matcher.Value}
	if matcher.Type == labels.MatchRegexp || matcher.Type == labels.MatchNotRegexp {
		wanted = strings.Split(matcher.Value, "|")
	}
	for _, v := range wanted {
		if !slices.Contains(values, v) {
			problems = append(problems, fmt.Sprintf("%s has no %s=%q; it has %q", m.name, matcher.Name, v, slices.Compact(slices.Sorted(slices.Values(values)))))
		}
	}
	return problems
}

// grouped are the labels that what is above a selector goes by.
func grouped(path []parser.Node) (all []string) {
	for _, n := range path {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			all = append(all, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil && n.VectorMatching.On {
				all = append(all, n.VectorMatching.MatchingLabels...)
			}
		}
	}
	return all
}

func TestRulesNameWhatIsExported(t *testing.T) {
	all, _ := exported(t)
	known := withProcess(t, all)
	for _, r := range readRules(t, rulesFile).all() {
		for _, p := range misspelt(r.Expr, known) {
			t.Errorf("%s: %s", r.Alert, p)
		}
	}
	for expr, want := range map[string]string{
		`kmend_incident_open`:                                              "no metric kmend_incident_open",
		`sum by (outcom) (kmend_incidents_total)`:                          "no label outcom",
		`kmend_incidents_total{cuase="x"}`:                                 "no label cuase",
		`rate(kmend_slack_messages_total{result="fail"}[5m])`:              `no result="fail"`,
		`kmend_incidents_total{outcome=~"fixed|undon"}`:                    `no outcome="undon"`,
		`kmend_phase_seconds`:                                              "no metric kmend_phase_seconds",
		`kmend_incidents_open_bucket`:                                      "no metric",
		`kmend_incidents_open and on (jobs) kmend_agent_lost_events_total`: "no label jobs",
		`sum(`: "parse error",
	} {
		if got := strings.Join(misspelt(expr, known), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

var slug = regexp.MustCompile(`^https://github\.com/kmend/kmend/blob/main/docs/monitoring\.md#([a-z]+)$`)

// Each alert says how bad it is, what it is, and where there is what to do.
func TestRulesSayWhatToDo(t *testing.T) {
	doc, err := os.ReadFile(root + "/docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range readRules(t, rulesFile).all() {
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Kmend") {
			t.Errorf("alert %q is there twice or is not called Kmend...", r.Alert)
		}
		seen[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		if len(r.Annotations["summary"]) < 10 || len(r.Annotations["description"]) < 40 {
			t.Errorf("%s says too little: %v", r.Alert, r.Annotations)
		}
		place := slug.FindStringSubmatch(r.Annotations["runbook_url"])
		if place == nil || place[1] != strings.ToLower(r.Alert) || !strings.Contains(string(doc), "\n### "+r.Alert+"\n") {
			t.Errorf("%s: runbook_url %q is no heading of docs/monitoring.md", r.Alert, r.Annotations["runbook_url"])
		}
		e, err := parser.ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, used := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(r.Annotations), -1) {
			if has := kept(e); !slices.Contains(has, used[1]) {
				t.Errorf("%s: $labels.%s is none of %v", r.Alert, used[1], has)
			}
		}
	}
	for heading := range strings.SplitSeq(string(doc), "\n") {
		if name, ok := strings.CutPrefix(heading, "### Kmend"); ok && !seen["Kmend"+name] {
			t.Errorf("docs/monitoring.md has %q, and there is no such alert", heading)
		}
	}
}

// kept are the labels that an expression's series have, as far as it says so itself.
func kept(e parser.Expr) []string {
	has := slices.Clone(scraped)
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			has = slices.Concat(has, a.Grouping)
		}
		return nil
	})
	return has
}

// dashboard is what is checked of Grafana's JSON.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct{ Name, Type, Query string }
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct {
		RefID, Expr string
		Datasource  struct{ Type, UID string }
	}
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// forPrometheus fills in what Grafana does.
func forPrometheus(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h").Replace(expr)
}

// No Grafana runs here: what it refuses or shows wrongly is looked for by hand.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	all, _ := exported(t)
	known := withProcess(t, all)
	if d.UID != "kmend" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("uid %q, title %q, schemaVersion %d", d.UID, d.Title, d.SchemaVersion)
	}
	if l := d.Templating.List; len(l) != 1 || l[0].Name != "datasource" || l[0].Type != "datasource" || l[0].Query != "prometheus" {
		t.Errorf("variables %+v", l)
	}
	ids := map[int]string{}
	for i, p := range d.Panels {
		if other, twice := ids[p.ID]; twice || p.ID < 1 {
			t.Errorf("panel %q has the id %d, as has %q", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is at %+v of 24 columns", p.Title, p.GridPos)
		}
		for _, q := range d.Panels[:i] {
			if a, b := p.GridPos, q.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", q.Title, p.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"timeseries", "stat", "bargauge"}, p.Type) || p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %+v lacks something, or its type is none of Grafana's", p)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.RefID == "" {
				t.Errorf("panel %q: query %q is there twice", p.Title, target.RefID)
			}
			refs[target.RefID] = true
			if target.Datasource.Type != "prometheus" || target.Datasource.UID != "${datasource}" || p.Datasource != target.Datasource {
				t.Errorf("panel %q asks %+v, not the variable", p.Title, target.Datasource)
			}
			for _, problem := range misspelt(forPrometheus(target.Expr), known) {
				t.Errorf("panel %q: %s: %s", p.Title, target.Expr, problem)
			}
		}
	}
}
