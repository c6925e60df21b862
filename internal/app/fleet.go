package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/workloads"
	"github.com/kmend/kmend/incident"
)

const (
	fleetPatience = 10 * time.Second // of one agent's answer
	fleetAtOnce   = 8
	fleetAtLeast  = 8 // a minute; more of more nodes, so that each is asked once an hour
)

// fleet looks every minute whether each node has an agent that answers and until when
// its certificate is good: without it the next incident would be the first to know.
type fleet struct {
	config  Agents
	node    string               // this one
	local   *agent.Agent         // nil: none
	cluster *workloads.Workloads // nil: none
	metrics *Metrics
	log     *slog.Logger

	last    string // node that was asked last
	answers map[string]agentAnswer
	missing []string
}

// agentAnswer is what is known of a node's agent.
type agentAnswer struct {
	err     error
	expires time.Time // its certificate; zero: not known
}

func (f *fleet) run(ctx context.Context) {
	everyMinute(ctx, func() {
		if err := f.look(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn("which nodes have an agent is looked at later", "error", err)
		}
	})
}

// look asks some of the agents, and counts.
func (f *fleet) look(ctx context.Context) error {
	urls, err := f.urls(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(f.answers, func(node string, _ agentAnswer) bool { _, there := urls[node]; return !there })
	f.ask(ctx, urls)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var missing []string
	var first time.Time
	for node, url := range urls {
		a := f.answers[node]
		if url == "" || a.err != nil {
			missing = append(missing, node)
		}
		if !a.expires.IsZero() && (first.IsZero() || a.expires.Before(first)) {
			first = a.expires
		}
	}
	slices.Sort(missing)
	f.metrics.fleet(len(urls), len(missing), first)
	if !slices.Equal(missing, f.missing) {
		f.log.Warn("nodes without an agent that answers", "count", len(missing), "of", len(urls), "nodes", strings.Join(missing[:min(10, len(missing))], ", "))
		f.missing = missing
	}
	return nil
}

const here = "local" // in place of a URL

// urls are the nodes that are known, and where their agents are; "" is nowhere.
func (f *fleet) urls(ctx context.Context) (map[string]string, error) {
	urls := map[string]string{}
	if p := f.config.Kubernetes; p != nil && f.cluster != nil {
		nodes, err := f.cluster.Agents(ctx, p.Namespace, p.Selector)
		if err != nil {
			return nil, err
		}
		for node, ip := range nodes {
			if ip != "" {
				ip = "https://" + net.JoinHostPort(ip, strconv.Itoa(p.Port))
			}
			urls[node] = ip
		}
	}
	for _, s := range f.config.Static {
		urls[strings.ToLower(s.Node)] = s.URL
	}
	if !f.config.Local {
		return urls, nil
	}
	for node := range urls {
		if incident.SameNode(node, f.node) {
			delete(urls, node)
		}
	}
	urls[f.node] = here
	return urls, nil
}

// ask asks those whose turn it is.
func (f *fleet) ask(ctx context.Context, urls map[string]string) {
	var places sync.WaitGroup
	var mu sync.Mutex
	room := make(chan struct{}, fleetAtOnce)
	for _, node := range f.turn(urls) {
		room <- struct{}{}
		places.Go(func() {
			defer func() { <-room }()
			expires, err := f.capable(ctx, urls[node])
			if ctx.Err() != nil {
				return
			}
			f.metrics.asked(err)
			mu.Lock()
			defer mu.Unlock()
			if expires.IsZero() {
				expires = f.answers[node].expires // one that has expired is not shown
			}
			f.answers[node] = agentAnswer{err, expires}
		})
	}
	places.Wait()
}

// turn are the nodes that are asked now: those that come after the last one that was.
func (f *fleet) turn(urls map[string]string) []string {
	var nodes []string
	for node, url := range urls {
		if url != "" {
			nodes = append(nodes, node)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	slices.Sort(nodes)
	from, there := slices.BinarySearch(nodes, f.last)
	if there {
		from++
	}
	nodes = slices.Concat(nodes[from:], nodes[:from])
	nodes = nodes[:min(len(nodes), max(fleetAtLeast, (len(nodes)+59)/60))]
	f.last = nodes[len(nodes)-1]
	return nodes
}

// capable asks one agent what it can do, over a connection of its own: the certificate
// is the one that it has now.
func (f *fleet) capable(ctx context.Context, url string) (expires time.Time, err error) {
	if url == here {
		if f.local == nil {
			return expires, errors.New("this node is not measured")
		}
		_, err = f.local.Capabilities(ctx)
		return expires, err
	}
	o := f.config.client(url)
	o.Timeout = min(o.Timeout, fleetPatience)
	var notAfter atomic.Int64 // a connection may be made when nobody waits for it any more
	o.Certified = func(t time.Time) { notAfter.Store(t.Unix()) }
	c, err := agent.NewClient(o)
	if err != nil {
		return expires, err
	}
	defer c.Close()
	_, err = c.Capabilities(ctx)
	if n := notAfter.Load(); n != 0 {
		expires = time.Unix(n, 0)
	}
	return expires, err
}
