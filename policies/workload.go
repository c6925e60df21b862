package policies

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/kmend/kmend/incident"
)

// cluster is what the Kubernetes API said; an error is that nobody knows.
func (q question) cluster() (Cluster, error) {
	if why, missing := q.facts.Missing["cluster"]; missing {
		return Cluster{}, fmt.Errorf("the cluster was not asked: %s", why)
	}
	if q.facts.Cluster == nil {
		return Cluster{}, fmt.Errorf("%s is in no cluster that kmend knows", q.plan.Target)
	}
	return *q.facts.Cluster, nil
}

func (g *guards) blastRadius(q question) (all []said) {
	for _, r := range g.BlastRadius {
		all = append(all, radius(q, r))
	}
	return all
}

func radius(q question, r Radius) said {
	const guard = "blastRadius"
	where, ok := q.here(r.Per)
	if !ok {
		return deny(guard, "%s", where)
	}
	c, err := q.cluster()
	if err != nil {
		return deny(guard, "%v", err)
	}
	extent, known := c.Extents[r.Per]
	if r.Per == "owner" && c.Owner != nil {
		extent, known = c.Owner.Extent, true
	}
	if !known {
		return deny(guard, "how many there are in %s is not known", where)
	}
	since := q.now
	if r.In != nil {
		since = q.now.Add(-r.In.D())
	}
	acts, err := q.acts(since, q.same(r.Per))
	if err != nil {
		return deny(guard, "%v", err)
	}
	own := map[string]bool{q.facts.Scope.Target: true}
	for _, a := range acts {
		own[a.Scope.Target] = true
	}
	// Its own targets may be among the disrupted: counted twice is on the safe side.
	n := extent.Disrupted + len(own) + q.besides()
	most := math.MaxInt
	if r.Max > 0 {
		most = r.Max
	}
	if r.MaxPercent > 0 {
		most = min(most, int(math.Floor(r.MaxPercent/100*float64(extent.Total)+1e-9)))
	}
	what := fmt.Sprintf("%d of %d in %s with this plan: %d not serving, %d of kmend's", n, extent.Total, where, extent.Disrupted, n-extent.Disrupted)
	if n > most {
		return deny(guard, "%s; at most %d is allowed", what, most)
	}
	return pass(guard, "%s, at most %d", what, most)
}

// besides is how many pods the plan takes away beside its target: a drain for the
// sake of one pod evicts all those on its node. Which of them are in the same part
// of the cluster is not known, so all count. Where the target is a node, nodes are
// counted, and it is one.
func (q question) besides() (n int) {
	if q.plan.Target.Pod == "" {
		return 0
	}
	for _, s := range q.plan.Steps {
		if s.Preview != nil {
			n += max(0, s.Preview.Disrupts-1)
		}
	}
	return n
}

func (g *guards) ownership(q question) []said {
	o := g.Ownership
	if o == nil {
		return nil
	}
	c, err := q.cluster()
	if err != nil {
		return []said{deny("ownership", "%v", err)}
	}
	var all []said
	for _, by := range []struct {
		effect incident.Effect
		names  []string
		what   string
	}{
		{cmp.Or(o.GitOps, incident.RequireApproval), c.GitOps, "kept as it is in a repository by"},
		{cmp.Or(o.HPA, incident.RequireApproval), c.HPA, "scaled by"},
		{cmp.Or(o.VPA, incident.Deny), c.VPA, "resized by"},
	} {
		if len(by.names) > 0 {
			all = append(all, say(by.effect, "ownership", "%s %s", by.what, strings.Join(by.names, ", ")))
		}
	}
	if all == nil {
		return []said{pass("ownership", "nothing else sets it")}
	}
	return all
}

func (g *guards) headroom(q question) []said {
	h := g.Headroom
	if h == nil {
		return nil
	}
	adds := map[string]float64{}
	for _, s := range q.plan.Steps {
		if s.Preview != nil {
			for what, n := range s.Preview.Adds {
				adds[what] += max(0, n)
			}
		}
	}
	if len(adds) == 0 {
		return nil
	}
	c, err := q.cluster()
	switch {
	case err != nil:
		return []said{deny("headroom", "%v", err)}
	case c.Room == nil:
		return []said{deny("headroom", "how much the node has is not known")}
	}
	var all []said
	for _, r := range []struct {
		what                 string
		percent, total, free float64
	}{
		{"cpu", h.CPUPercent, c.Room.CPU, c.Room.FreeCPU},
		{"memory", h.MemoryPercent, c.Room.Memory, c.Room.FreeMemory},
	} {
		if adds[r.what] == 0 || r.percent == 0 {
			continue
		}
		left := 0.0
		if r.total > 0 {
			left = 100 * (r.free - adds[r.what]) / r.total
		}
		if left < r.percent-1e-6 { // 4 - 3.2 is a little less than 0.8
			all = append(all, deny("headroom", "%.0f%% of the node's %s would be left; %.0f%% must", left, r.what, r.percent))
			continue
		}
		all = append(all, pass("headroom", "%.0f%% of the node's %s would be left", left, r.what))
	}
	return all
}

func (g *guards) minReady(q question) []said {
	m := g.MinReady
	if m == nil {
		return nil
	}
	c, err := q.cluster()
	switch {
	case err != nil:
		return []said{deny("minReady", "%v", err)}
	case c.Owner == nil:
		return []said{deny("minReady", "%s belongs to no workload, so nothing else is ready in its place", q.plan.Target)}
	}
	least := max(m.Replicas, int(math.Ceil(m.Percent/100*float64(c.Owner.Total)-1e-9)))
	others := c.Owner.OthersReady
	if others < least {
		return []said{deny("minReady", "%d other pods of the workload are ready; at least %d must be", others, least)}
	}
	return []said{pass("minReady", "%d other pods of the workload are ready, at least %d", others, least)}
}
