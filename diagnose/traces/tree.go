package traces

import (
	"cmp"
	"slices"
)

// node is a span in its trace.
type node struct {
	*Span
	children []*node
	parent   *node
	// from and to are the span's time by the clock of the trace's root.
	from, to int64
}

// async reports whether its parent went on without it.
func (n *node) async() bool { return n.Follows || n.Kind == Consumer }

// tree links the spans of one trace and gives its roots. A span whose parent is
// missing hangs below the root, if there is just one: the same request made it.
// Of spans with one id the first counts; where parents form a circle it is cut.
func tree(spans []Span) (roots []*node) {
	nodes := make([]*node, 0, len(spans))
	byID := make(map[string]*node, len(spans))
	for i := range spans {
		s := &spans[i]
		if byID[s.ID] == nil {
			n := &node{Span: s}
			byID[s.ID], nodes = n, append(nodes, n)
		}
	}
	var orphans []*node
	for _, n := range nodes {
		switch n.parent = byID[n.Parent]; {
		case n.Parent == "":
			n.parent = nil
			roots = append(roots, n)
		case n.parent == nil || n.parent == n:
			n.parent = nil
			orphans = append(orphans, n)
		}
	}
	orphans = append(orphans, cut(nodes)...)
	if len(roots) == 1 {
		for _, o := range orphans {
			o.parent = roots[0]
		}
	} else {
		roots = append(roots, orphans...)
	}
	for _, n := range nodes {
		if n.parent != nil {
			n.parent.children = append(n.parent.children, n)
		}
	}
	for _, n := range nodes {
		slices.SortStableFunc(n.children, func(a, b *node) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID)) })
	}
	for _, r := range roots {
		align(r)
	}
	return roots
}

// cut takes one parent out of each circle of parents and gives those spans.
func cut(nodes []*node) (loose []*node) {
	const visiting, done = 1, 2
	state := make(map[*node]int, len(nodes))
	for _, start := range nodes {
		var way []*node
		n := start
		for ; n != nil && state[n] == 0; n = n.parent {
			state[n] = visiting
			way = append(way, n)
		}
		if n != nil && state[n] == visiting {
			n.parent = nil
			loose = append(loose, n)
		}
		for _, seen := range way {
			state[seen] = done
		}
	}
	return loose
}

// align puts a tree on the clock of its root. The clocks of two hosts differ: a
// synchronous child that does not fit into its parent is moved to the middle of
// it, as Jaeger does, or to its start where it is longer. What runs in the same
// service keeps its parent's clock and may outlive it.
func align(root *node) {
	root.from, root.to = root.Start, root.Start+root.Duration
	for queue := []*node{root}; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		shift := p.from - p.Start
		for _, c := range p.children {
			c.from = c.Start + shift
			c.to = c.from + c.Duration
			fits := c.from >= p.from && c.to <= p.to
			if !fits && c.Service != p.Service && !c.async() {
				c.from = p.from + max(0, p.Duration-c.Duration)/2
				c.to = c.from + c.Duration
			}
			queue = append(queue, c)
		}
	}
}

type interval struct{ from, to int64 }

// covered is how long of a span others of it take, those at the same time once.
func covered(n *node, parts []interval) (sum int64) {
	slices.SortFunc(parts, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	end := n.from
	for _, p := range parts {
		from, to := max(p.from, end), min(p.to, n.to)
		if to > from {
			sum += to - from
			end = to
		}
	}
	return sum
}
