// Package guard stands between a plan and its execution: it gathers what the
// policies ask about (what kmend did, what the cluster and Prometheus say, whether
// somebody paused kmend) and lets package policies decide. It fails closed: a
// source that gives no answer is a fact too, and denies where a policy needs it.
package guard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/policies"
)

// These bound the gathering for one decision; counting is for one where all pods of the
// cluster are counted, of which there may be 50,000 (docs/scale.md).
const (
	timeout  = 10 * time.Second
	counting = 30 * time.Second
)

// History knows what kmend did (internal/store).
type History interface {
	Runs(ctx context.Context, since time.Time) ([]store.Run, error)
}

// Switch is one way to pause kmend. why is empty while it is not paused; an error
// is that nobody knows, and pauses as well.
type Switch interface {
	Paused(ctx context.Context) (why string, err error)
}

// Options are what a Guard is made of.
type Options struct {
	Policies   *policies.Set
	History    History
	Switches   []Switch
	Cluster    *Cluster    // nil: none is configured
	Prometheus *Prometheus // nil: none is configured
}

// Guard decides about plans. It is safe for concurrent use.
type Guard struct{ Options }

// New makes a Guard.
func New(o Options) (*Guard, error) {
	if o.Policies == nil || o.History == nil {
		return nil, errors.New("guard options: Policies and History must be set")
	}
	return &Guard{o}, nil
}

// Decide gathers the facts about a plan and lets the policies decide.
func (g *Guard) Decide(ctx context.Context, inc incident.Incident, plan incident.Plan) incident.Decision {
	return g.Policies.Decide(inc, plan, g.Facts(ctx, inc, plan))
}

// Facts gathers what the policies ask about a plan. What could not be asked is in
// Facts.Missing.
func (g *Guard) Facts(ctx context.Context, inc incident.Incident, plan incident.Plan) policies.Facts {
	extents, limit := g.Policies.Extents(), timeout
	if slices.Contains(extents, "zone") || slices.Contains(extents, "cluster") {
		limit = counting
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f := policies.Facts{Scope: scope(inc, plan), Missing: map[string]string{}}
	missing := func(source string, err error) {
		if err != nil {
			f.Missing[source] = err.Error()
		}
	}
	var err error
	f.Paused, err = g.Paused(ctx)
	missing("pause", err)
	f.History, err = g.history(ctx)
	missing("history", err)
	missing("cluster", g.Cluster.facts(ctx, plan, extents, &f))
	queries, broken := g.Policies.Budgets(inc, plan)
	for key, why := range broken {
		f.Missing[key] = why
	}
	for _, q := range queries {
		b, err := g.Prometheus.budget(ctx, q)
		missing(q.Key, err)
		if err == nil {
			if f.Budgets == nil {
				f.Budgets = map[string]policies.Budget{}
			}
			f.Budgets[q.Key] = b
		}
	}
	return f
}

// Paused says who stopped kmend and why, "" when nobody did. One switch is enough;
// an error is that none is on and one of them gives no answer.
func (g *Guard) Paused(ctx context.Context) (why string, unknown error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, s := range g.Switches {
		why, err := s.Paused(ctx)
		if why != "" && err == nil {
			return why, nil
		}
		unknown = errors.Join(unknown, err)
	}
	return "", unknown
}

func (g *Guard) history(ctx context.Context) ([]policies.Act, error) {
	runs, err := g.History.Runs(ctx, time.Now().Add(-g.Policies.History()))
	if err != nil {
		return nil, err
	}
	acts := make([]policies.Act, len(runs))
	for i, r := range runs {
		acts[i] = policies.Act(r)
	}
	return acts, nil
}

// scope is where a plan acts, as far as it says so itself: a pod is taken whole.
func scope(inc incident.Incident, plan incident.Plan) incident.Scope {
	t := plan.Target
	t.Container = ""
	node := t.Node
	if node == "" && inc.Diagnosis != nil {
		node = inc.Diagnosis.Node.Name
	}
	return incident.Scope{Target: t.Key(), Namespace: t.Namespace, Node: node, Cluster: t.Cluster}
}

// adds reports whether a plan makes its node give more.
func adds(plan incident.Plan) bool {
	return slices.ContainsFunc(plan.Steps, func(s incident.Step) bool { return s.Preview != nil && len(s.Preview.Adds) > 0 })
}
