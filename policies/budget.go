package policies

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/kmend/kmend/incident"
)

// BudgetQuery is what has to be asked of Prometheus for one error budget: two
// PromQL queries that each give one number.
type BudgetQuery struct {
	Key              string // of Facts.Budgets and Facts.Missing: POLICY/NAME
	Requests, Errors string
}

// Budgets are the queries of the error budgets that count for a plan. One whose
// placeholders cannot be filled in safely is in broken, with the reason.
func (s *Set) Budgets(inc incident.Incident, plan incident.Plan) (queries []BudgetQuery, broken map[string]string) {
	broken = map[string]string{}
	if s == nil {
		return nil, broken
	}
	for _, p := range s.policies {
		if p.guards == nil {
			continue
		}
		for _, b := range p.guards.Budgets {
			if !like(b.Namespace, plan.Target.Namespace) {
				continue
			}
			key := p.Metadata.Name + "/" + b.Name
			requests, err := fill(b.Requests, plan.Target)
			failed, more := fill(b.Errors, plan.Target)
			if err := errors.Join(err, more); err != nil {
				broken[key] = err.Error()
				continue
			}
			queries = append(queries, BudgetQuery{key, requests, failed})
		}
	}
	return queries, broken
}

// placeholder is $namespace and its like in a query.
var placeholder = regexp.MustCompile(`\$[a-z]+`)

// plain is what may stand in a query for a placeholder: names as Kubernetes has
// them. A label of an alert could hold a quote and the rest of another query.
var plain = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

func fill(query string, t incident.Target) (string, error) {
	values := map[string]string{"$cluster": t.Cluster, "$namespace": t.Namespace, "$pod": t.Pod, "$container": t.Container, "$node": t.Node}
	var err error
	out := placeholder.ReplaceAllStringFunc(query, func(name string) string {
		value, known := values[name]
		switch {
		case !known:
			err = fmt.Errorf("%s is no placeholder; known: $cluster, $namespace, $pod, $container, $node", name)
		case !plain.MatchString(value):
			err = fmt.Errorf("%s is %q for %s, which has no place in a query", name, value, t)
		}
		return value
	})
	return out, err
}

func (g *guards) budgets(q question) (all []said) {
	for _, b := range g.Budgets {
		if like(b.Namespace, q.plan.Target.Namespace) {
			all = append(all, budget(q, b))
		}
	}
	return all
}

func budget(q question, b ErrorBudget) said {
	const guard = "errorBudgets"
	key := q.policy + "/" + b.Name
	if why, missing := q.facts.Missing[key]; missing {
		return deny(guard, "%s is not known: %s", b.Name, why)
	}
	counts, known := q.facts.Budgets[key]
	switch {
	case !known:
		return deny(guard, "%s is not known: nobody asked Prometheus", b.Name)
	case !count(counts.Requests) || !count(counts.Errors) || counts.Errors > counts.Requests:
		return deny(guard, "%s is not known: %v errors in %v requests make no sense", b.Name, counts.Errors, counts.Requests)
	case counts.Requests < b.MinRequests:
		return say(cmp.Or(b.LowTraffic, incident.RequireApproval), guard, "%s says nothing: %.0f requests, fewer than %.0f", b.Name, counts.Requests, b.MinRequests)
	}
	left := 1 - counts.Errors/counts.Requests/(1-b.Objective)
	what := fmt.Sprintf("%.0f%% of %s is left: %.0f of %.0f requests failed, %s is the objective", 100*left, b.Name, counts.Errors, counts.Requests, percent(b.Objective))
	if left < b.Below {
		return say(cmp.Or(b.Decide, incident.RequireApproval), guard, "%s", what)
	}
	return pass(guard, "%s", what)
}

func count(n float64) bool { return n >= 0 && !math.IsInf(n, 0) }

func percent(f float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", 100*f), "0"), ".") + "%"
}
