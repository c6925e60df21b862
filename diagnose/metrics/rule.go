package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/kmend/kmend/incident"
)

// maxURL bounds the link of an alert that is looked into.
const maxURL = 16 << 10

// rule is an alert's expression as Prometheus has it.
type rule struct {
	expr   string
	hold   time.Duration // its `for`
	window time.Duration // the longest range in it; 0: none
	// value is what the expression compares, all of it where it compares nothing, and
	// limit what with: "> 0.5".
	value, limit string
}

// ruleOf finds the rule that an alert is of: one of its name whose expression is the
// one in the alert's link. The link comes from outside, so what is run is what
// Prometheus says, and only where both are the same.
func (m *Metrics) ruleOf(ctx context.Context, a incident.Alert) (rule, error) {
	claimed, err := expression(a.GeneratorURL)
	if err != nil {
		return rule{}, err
	}
	all, err := m.API.Rules(ctx, nil)
	if err != nil {
		return rule{}, fmt.Errorf("asking Prometheus for its rules: %w", err)
	}
	named := false
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			alerting, ok := r.(v1.AlertingRule)
			if !ok || alerting.Name != a.Name() {
				continue
			}
			named = true
			if same(alerting.Query, claimed) {
				return analyse(alerting)
			}
		}
	}
	if named {
		return rule{}, fmt.Errorf("prometheus has rules %.80q, and none with the expression in the alert's link: it is not asked", a.Name())
	}
	return rule{}, fmt.Errorf("prometheus has no rule %.80q: the expression in the alert's link is not asked", a.Name())
}

// expression is the one in the link that Prometheus makes for an alert.
func expression(link string) (string, error) {
	if len(link) > maxURL {
		return "", fmt.Errorf("the alert's link is longer than %d bytes: it is not looked into", maxURL)
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", errors.New("the alert's generatorURL is no URL")
	}
	expr := u.Query().Get("g0.expr")
	if expr == "" {
		return "", errors.New("the alert's generatorURL has no expression of Prometheus (g0.expr)")
	}
	return expr, nil
}

// same compares without regard to spaces, in which versions differ.
func same(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}

// analyse takes the rule's expression apart.
func analyse(a v1.AlertingRule) (rule, error) {
	r := rule{expr: a.Query, hold: time.Duration(a.Duration * float64(time.Second))}
	e, err := parser.ParseExpr(a.Query)
	if err != nil {
		return rule{}, fmt.Errorf("reading the expression of rule %.80q: %w", a.Name, err)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.MatrixSelector:
			r.window = max(r.window, n.Range)
		case *parser.SubqueryExpr:
			r.window = max(r.window, n.Range)
		}
		return nil
	})
	r.value, r.limit = compared(e)
	return r, nil
}

// compared is the side of a comparison that is no number, else the left one, and what
// it is compared with; of several that are joined by and, the first.
func compared(e parser.Expr) (value, limit string) {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return compared(e.Expr)
	case *parser.BinaryExpr:
		switch {
		case e.Op == parser.LAND || e.Op == parser.LUNLESS:
			return compared(e.LHS)
		case e.Op.IsComparisonOperator():
			if n, ok := e.LHS.(*parser.NumberLiteral); ok {
				return e.RHS.String(), n.String() + " " + e.Op.String()
			}
			return e.LHS.String(), e.Op.String() + " " + short(e.RHS.String())
		}
	}
	return e.String(), ""
}

// ofAlert reports whether a series is the one that an alert is of: the alert has its
// labels, and more from its rule.
func ofAlert(series model.Metric, a incident.Alert) bool {
	for name, value := range series {
		if name != model.MetricNameLabel && a.Labels[string(name)] != string(value) {
			return false
		}
	}
	return true
}

// short shows a query in a sentence.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 160 {
		return string(r[:160]) + "…"
	}
	return s
}
