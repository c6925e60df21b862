package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cluster is one shard of a Redis Cluster: the one of the node `from`.
type cluster struct {
	conns *conns
	addrs []string
	from  string // host:port or node id
}

// view is how one node sees the Cluster.
type view struct {
	nodes []member
	state string // cluster_state
	err   error
}

func (c *cluster) look(ctx context.Context) (state, error) {
	views := make([]view, len(c.addrs))
	each(len(views), func(i int) { views[i] = c.view(ctx, c.addrs[i]) })
	var out state
	var errs []error
	var shard []member
	answers := 0
	for i, v := range views {
		if v.err != nil {
			errs = append(errs, v.err)
			continue
		}
		answers++
		master, replicas, err := shardOf(v.nodes, c.from)
		if err != nil {
			return state{}, fmt.Errorf("node %s: %w", c.addrs[i], err)
		}
		switch {
		case out.master != "" && (out.master != master.addr || out.epoch != master.epoch):
			out.moving = fmt.Sprintf("nodes take %s at epoch %s and %s at epoch %s for the master", out.master, out.epoch, master.addr, master.epoch)
		case v.against() != "":
			out.unable = fmt.Sprintf("node %s: %s", c.addrs[i], v.against())
		case !master.well():
			out.unable = fmt.Sprintf("to node %s the master is %s", c.addrs[i], master)
		}
		if out.master == "" || len(master.epoch) > len(out.epoch) || len(master.epoch) == len(out.epoch) && master.epoch > out.epoch {
			out.master, out.epoch, shard = master.addr, master.epoch, replicas
			out.names = []string{master.id, master.host}
		}
	}
	if answers <= len(c.addrs)/2 {
		return state{}, fmt.Errorf("%d of %d nodes answer, a majority must: %w", answers, len(c.addrs), errors.Join(errs...))
	}
	for _, m := range shard {
		r := replica{addr: m.addr}
		if !m.well() || slices.Contains(m.flags, "nofailover") {
			r.against = "to the Cluster it is " + m.String()
		}
		out.replicas = append(out.replicas, r)
	}
	c.ownViews(ctx, &out)
	return out, nil
}

// ownViews asks the shard itself. A replica that sees too few masters would lose
// its election, and a master does not hand over to one that it does not know.
func (c *cluster) ownViews(ctx context.Context, s *state) {
	v := c.view(ctx, s.master)
	_, known, err := shardOf(v.nodes, c.from)
	if v.err != nil || err != nil {
		s.unable = fmt.Sprintf("the master's own view: %v", errors.Join(v.err, err))
		return
	}
	each(len(s.replicas), func(i int) {
		r := &s.replicas[i]
		if r.against != "" {
			return
		}
		own := c.view(ctx, r.addr)
		switch {
		case own.err != nil:
			r.against = own.err.Error()
		case !slices.ContainsFunc(known, func(m member) bool { return m.addr == r.addr }):
			r.against = "the master does not know it as its replica"
		default:
			r.against = own.against()
		}
	})
}

func (c *cluster) view(ctx context.Context, addr string) (v view) {
	text, err := c.conns.text(ctx, addr, "CLUSTER", "INFO")
	if err != nil {
		return view{err: err}
	}
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster_state:"); ok {
			v.state = s
		}
	}
	if text, err = c.conns.text(ctx, addr, "CLUSTER", "NODES"); err != nil {
		return view{err: err}
	}
	if v.nodes, err = members(text, addr); err != nil {
		return view{err: fmt.Errorf("CLUSTER NODES at %s: %w", addr, err)}
	}
	return v
}

// against says why a node that sees this would not take part in a failover.
func (v view) against() string {
	if v.state != "ok" {
		return fmt.Sprintf("its cluster_state is %q", clean(v.state))
	}
	masters, well := 0, 0
	for _, m := range v.nodes {
		if m.slots {
			masters++
			if m.well() {
				well++
			}
		}
	}
	if well <= masters/2 {
		return fmt.Sprintf("it sees %d of %d masters, a majority must vote", well, masters)
	}
	return ""
}

// move makes the replica ask for the master's place. The master stops for that
// moment, and hands over at the same offset: nothing that it took is lost.
func (c *cluster) move(ctx context.Context, _ state, to string) error {
	_, err := c.conns.ask(ctx, to, "CLUSTER", "FAILOVER")
	return err
}
