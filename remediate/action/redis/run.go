package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kmend/kmend/remediate/action"
)

// run is one call of an action: where it acts, as whom, and within which bounds.
type run struct {
	system  system
	servers *conns // to the Redis servers themselves
	watch   *conns // to those who decide; the servers again in a Cluster
	bounds  bounds
	what    string // for people
	asked   string // for people: who answers
	from    string // must be the master before; "" for whichever is
	chooses bool   // move says which replica becomes master; Sentinel chooses itself
}

func (r *run) Close() {
	r.servers.Close()
	r.watch.Close()
}

func openSentinel(with map[string]any) (*run, error) {
	var p SentinelParams
	if err := action.Decode(with, &p); err != nil {
		return nil, err
	}
	if err := addresses("sentinels", p.Sentinels); err != nil {
		return nil, err
	}
	if p.Master == "" {
		return nil, errors.New("with.master is missing: give the name by which the Sentinels know the master")
	}
	if p.From != "" && !isAddress(p.From) {
		return nil, fmt.Errorf("with.from: %q is not host:port", p.From)
	}
	b, err := p.checked()
	if err != nil {
		return nil, err
	}
	servers, watch := login{username: p.Username}, login{username: p.SentinelUsername}
	if servers.password, err = password("passwordFile", p.PasswordFile); err != nil {
		return nil, err
	}
	if watch.password, err = password("sentinelPasswordFile", p.SentinelPasswordFile); err != nil {
		return nil, err
	}
	if servers.tls, err = transport(p.TLS, p.CAFile, p.CertFile, p.KeyFile); err != nil {
		return nil, err
	}
	watch.tls = servers.tls
	w := newConns(watch)
	return &run{
		system: &sentinel{w, p.Sentinels, p.Master}, servers: newConns(servers), watch: w, bounds: b, from: p.From,
		what: "the Redis " + p.Master, asked: "what Sentinels, the master and its replicas say; Redis has no dry run",
	}, nil
}

func openCluster(with map[string]any) (*run, error) {
	var p ClusterParams
	if err := action.Decode(with, &p); err != nil {
		return nil, err
	}
	if err := addresses("nodes", p.Nodes); err != nil {
		return nil, err
	}
	if p.From == "" {
		return nil, errors.New("with.from is missing: give host:port of the master to replace")
	}
	b, err := p.checked()
	if err != nil {
		return nil, err
	}
	l := login{username: p.Username}
	if l.password, err = password("passwordFile", p.PasswordFile); err != nil {
		return nil, err
	}
	if l.tls, err = transport(p.TLS, p.CAFile, p.CertFile, p.KeyFile); err != nil {
		return nil, err
	}
	c := newConns(l)
	return &run{
		system: &cluster{c, p.Nodes, p.From}, servers: c, watch: c, bounds: b, from: p.From, chooses: true,
		what: "the Redis Cluster's master", asked: "what the Cluster's nodes say; Redis has no dry run",
	}, nil
}

// starts reports whether the master is the one that the runbook means.
func (r *run) starts(s state) bool {
	return r.from == "" || r.from == s.master || slices.Contains(s.names, r.from)
}

// ready is an error unless a failover to each of among (to the best of them,
// where it can be said which) would go well now. It writes how far they are
// behind into s and returns the run id of the master.
func (r *run) ready(ctx context.Context, s *state, among []string) (runID string, err error) {
	s.only(among...)
	if err := s.calm(); err != nil {
		return "", err
	}
	if runID, err = measure(ctx, r.servers, s, r.bounds); err != nil {
		return "", err
	}
	for _, one := range s.replicas {
		if !r.chooses && one.against != "" && slices.Contains(among, one.addr) {
			return "", fmt.Errorf("Sentinel may choose the replica %s, and %s", one.addr, one.against)
		}
	}
	return runID, s.calm()
}
