package traces

// call is one visit of a request to a service: the span that enters the service
// and all below it until the next service.
type call struct {
	entry   *node
	service string // as it names itself; of a peer without spans what its caller calls it
	silent  bool   // no span of its own: what is known is its caller's
	// own is how long it was at work itself or waited without saying for whom, reach
	// how long its caller waited beside that: the way to it, and until it began. ns.
	own, reach int64
	failed     bool // it says so
	blames     bool // and one that it called failed, too
	calls      []*call
}

// maxDepth of calls; a request that goes deeper is cut there.
const maxDepth = 32

// newCall reads a call from the span that enters the service.
func newCall(entry *node, depth int) *call {
	c := &call{entry: entry, service: entry.Service, failed: entry.Error}
	var out []interval
	// The spans of this service, down to where it calls another.
	for queue := []*node{entry}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		var away []interval // what n waited for
		var last *call
		for _, child := range n.children {
			switch {
			case child.async():
				continue // nobody waits for it
			case child.Service == entry.Service:
				queue = append(queue, child)
				continue
			case depth == maxDepth:
				continue
			}
			last = newCall(child, depth+1)
			away = append(away, interval{child.from, child.to})
			c.calls = append(c.calls, last)
		}
		if name, _ := peer(n.Attributes); n.Kind == Client && last == nil && name != "" {
			last = &call{entry: n, service: name, silent: true, own: n.Duration, failed: n.Error}
			away = append(away, interval{n.from, n.to})
			c.calls = append(c.calls, last)
		}
		if n.Kind == Client && last != nil { // all of its span is a wait, what is not for an answer the way to it
			last.reach = n.Duration - covered(n, away)
			away = append(away, interval{n.from, n.to})
		}
		out = append(out, away...)
	}
	for _, next := range c.calls {
		c.blames = c.blames || next.failed
	}
	c.own = entry.Duration - covered(entry, out)
	return c
}

// begin finds the outermost calls of a trace to one of the services.
func begin(spans []Span, services map[string]bool) (found []*call) {
	for queue := tree(spans); len(queue) > 0; queue = queue[1:] {
		if n := queue[0]; services[n.Service] {
			found = append(found, newCall(n, 1))
		} else {
			queue = append(queue, n.children...)
		}
	}
	return found
}

// ms is what it added to the request.
func (c *call) ms() float64 { return millis(c.own + c.reach) }
