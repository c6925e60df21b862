package redis

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// system is a Redis that can make another of its servers master.
type system interface {
	// look reads how things are from those who decide about it: the Sentinels, or
	// the nodes of the Cluster. An error is that too few of them answer.
	look(ctx context.Context) (state, error)
	// move asks for a failover and does not wait for it.
	move(ctx context.Context, s state, to string) error
}

// state is how those who decide see it.
type state struct {
	master   string   // host:port
	names    []string // other names of the master: node id, host name
	epoch    string   // another one after every failover
	moving   string   // what says that a failover is under way; "" when nothing does
	unable   string   // what says that a failover would not come about; "" when nothing does
	asked    string   // the Sentinel that would be asked for a failover
	replicas []replica
}

// replica is one of the master's.
type replica struct {
	addr     string
	priority int
	against  string // why it must not or cannot be made master; "" when it can
	behind   int64  // bytes
}

// able are the addresses of the replicas that nothing is against.
func (s state) able() []string {
	var out []string
	for _, r := range s.replicas {
		if r.against == "" {
			out = append(out, r.addr)
		}
	}
	return out
}

// first are the addresses of those among them that Sentinel prefers: of the
// lowest priority. Among equal ones it takes the one that has got most.
func (s state) first() []string {
	least := math.MaxInt
	for _, r := range s.replicas {
		if r.against == "" {
			least = min(least, r.priority)
		}
	}
	var out []string
	for _, r := range s.replicas {
		if r.against == "" && r.priority == least {
			out = append(out, r.addr)
		}
	}
	return out
}

// best is the address of the one that is the least behind.
func (s state) best() (addr string) {
	least := int64(math.MaxInt64)
	for _, r := range s.replicas {
		if r.against == "" && (addr == "" || r.behind < least) {
			addr, least = r.addr, r.behind
		}
	}
	return addr
}

// against says what is against each of the replicas.
func (s state) against() string {
	if len(s.replicas) == 0 {
		return "the master has no replica"
	}
	var out []string
	for _, r := range s.replicas {
		if r.against != "" {
			out = append(out, r.addr+": "+r.against)
		}
	}
	return strings.Join(out, "; ")
}

// calm is an error while a failover is under way, or would not come about.
func (s state) calm() error {
	switch {
	case s.moving != "":
		return fmt.Errorf("a failover is under way: %s", s.moving)
	case s.unable != "":
		return fmt.Errorf("a failover would not come about: %s", s.unable)
	case len(s.able()) == 0:
		return fmt.Errorf("no replica can take over: %s", s.against())
	}
	return nil
}

// measure asks the master how far it is, and then each replica that nothing is
// against so far whether it has got that, for grace at most: what the master
// takes meanwhile does not count. It writes down what is against them and
// returns the master's run id. The replicas must have been connected to the
// master for b.interval: all of them connect anew after a failover.
func measure(ctx context.Context, c *conns, s *state, b bounds) (runID string, err error) {
	master, err := c.info(ctx, s.master)
	if err != nil {
		return "", fmt.Errorf("asking the master how far it is: %w", err)
	}
	if err := master.leads(); err != nil {
		return "", fmt.Errorf("%s: %w", s.master, err)
	}
	age, err := c.oldestReplica(ctx, s.master)
	if err != nil {
		return "", err
	}
	if age < b.interval {
		return "", fmt.Errorf("the replicas of %s have been connected to it for %s only: it became master, or lost them, within the last %s (with.minInterval)", s.master, age, b.interval)
	}
	each(len(s.replicas), func(i int) {
		if r := &s.replicas[i]; r.against == "" {
			c.catchUp(ctx, r, master, b)
		}
	})
	return master["run_id"], nil
}

// grace is how long a replica has to get what the master had when it was asked.
const grace = time.Second

func (c *conns) catchUp(ctx context.Context, r *replica, master info, b bounds) {
	for end := time.Now().Add(grace); ; {
		now, err := c.info(ctx, r.addr)
		if err != nil {
			r.against = err.Error()
			return
		}
		r.behind, r.against = now.behind(master, b)
		if r.behind <= b.bytes || time.Now().After(end) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(grace / 20):
		}
	}
}

// only puts everything but the addresses given out of the question.
func (s *state) only(addrs ...string) {
	for i := range s.replicas {
		if r := &s.replicas[i]; r.against == "" && !slices.Contains(addrs, r.addr) {
			r.against = "it is not the one of the plan"
		}
	}
}

// seconds is n of them.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
