package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// sentinel is a Redis that Sentinels watch over.
type sentinel struct {
	conns *conns
	addrs []string
	name  string
}

// opinion is what one Sentinel says.
type opinion struct {
	master map[string]string
	quorum error
	err    error
}

func (s *sentinel) look(ctx context.Context) (state, error) {
	said := make([]opinion, len(s.addrs))
	each(len(s.addrs), func(i int) { said[i] = s.hear(ctx, s.addrs[i]) })
	var out state
	var errs []error
	var epoch int64 = -1
	answers := 0
	for i, o := range said {
		if o.err != nil {
			errs = append(errs, o.err)
			continue
		}
		answers++
		addr, err := address(o.master)
		n, bad := strconv.ParseInt(o.master["config-epoch"], 10, 64)
		if err != nil || bad != nil {
			return state{}, fmt.Errorf("Sentinel %s: its answer about %s has no ip, port and config-epoch", s.addrs[i], s.name)
		}
		flags := strings.Split(o.master["flags"], ",")
		switch {
		case out.master != "" && out.master != addr:
			out.moving = fmt.Sprintf("Sentinels take %s and %s for the master", out.master, addr)
		case slices.Contains(flags, "failover_in_progress"):
			out.moving = fmt.Sprintf("Sentinel %s is at it", s.addrs[i])
		case len(flags) != 1 || flags[0] != "master":
			out.unable = fmt.Sprintf("to Sentinel %s the master is %s", s.addrs[i], clean(o.master["flags"]))
		case o.quorum != nil:
			out.unable = o.quorum.Error()
		}
		if n > epoch {
			epoch, out.master, out.asked = n, addr, s.addrs[i]
		}
	}
	if answers <= len(s.addrs)/2 {
		return state{}, fmt.Errorf("%d of %d Sentinels answer, a majority must: %w", answers, len(s.addrs), errors.Join(errs...))
	}
	out.epoch = strconv.FormatInt(epoch, 10)
	var err error
	out.replicas, err = s.replicas(ctx, out.asked)
	return out, err
}

func (s *sentinel) hear(ctx context.Context, addr string) (o opinion) {
	v, err := s.conns.ask(ctx, addr, "SENTINEL", "MASTER", s.name)
	if err != nil {
		return opinion{err: err}
	}
	o.master = pairs(v)
	// NOQUORUM is an answer; silence is none.
	if _, err = s.conns.ask(ctx, addr, "SENTINEL", "CKQUORUM", s.name); err != nil {
		if _, said := errors.AsType[refusal](err); !said {
			return opinion{err: err}
		}
		o.quorum = err
	}
	return o
}

// replicas are those that a Sentinel knows, with what it has against each:
// it would not choose them.
func (s *sentinel) replicas(ctx context.Context, addr string) ([]replica, error) {
	v, err := s.conns.ask(ctx, addr, "SENTINEL", "REPLICAS", s.name)
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	var out []replica
	for _, item := range list {
		p := pairs(item)
		r := replica{}
		if r.addr, err = address(p); err != nil {
			return nil, fmt.Errorf("Sentinel %s: a replica of %s: %w", addr, s.name, err)
		}
		if r.priority, err = strconv.Atoi(p["slave-priority"]); err != nil {
			return nil, fmt.Errorf("Sentinel %s: replica %s has no priority", addr, r.addr)
		}
		switch {
		case p["flags"] != "slave":
			r.against = "to Sentinel it is " + clean(p["flags"])
		case r.priority == 0:
			r.against = "its replica-priority is 0"
		case p["master-link-status"] != "ok":
			r.against = "to Sentinel its link to the master is " + clean(p["master-link-status"])
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b replica) int { return strings.Compare(a.addr, b.addr) })
	return out, nil
}

// move cannot say to whom: Sentinel chooses among the replicas itself.
func (s *sentinel) move(ctx context.Context, st state, _ string) error {
	_, err := s.conns.ask(ctx, st.asked, "SENTINEL", "FAILOVER", s.name)
	return err
}

// pairs reads a list of names and values.
func pairs(v any) map[string]string {
	list, _ := v.([]any)
	out := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		k, _ := list[i].(string)
		out[k], _ = list[i+1].(string)
	}
	return out
}

func address(p map[string]string) (string, error) {
	a := net.JoinHostPort(p["ip"], p["port"])
	if !isAddress(a) {
		return "", fmt.Errorf("%q is not host:port", clean(a))
	}
	return a, nil
}
