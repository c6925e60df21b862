package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
)

// prober is a loaded set of probes: the ledger's and the instruments.
type prober interface {
	// Measure measures one target at a time. An error is about the ledger; how
	// the instruments fared is in their outcomes.
	Measure(ctx context.Context, s subject, window time.Duration, m *meter) (threads.Result, []outcome, error)
	Close() error
}

// kit is the real one. Its probes share the target's tables.
type kit struct {
	members *probe.Members
	ledger  *threads.Probe
	parts   []part
}

func openKit() (prober, error) {
	o := threads.DefaultOptions()
	members, err := probe.NewMembers(o.MaxGroups)
	if err != nil {
		return nil, err
	}
	k := &kit{members: members}
	if k.ledger, err = threads.Load(o, members); err != nil {
		return nil, errors.Join(err, members.Close())
	}
	for _, i := range instruments() {
		p := part{instrument: i}
		p.measurer, p.err = i.load(members)
		k.parts = append(k.parts, p)
	}
	return k, nil
}

func (k *kit) Measure(ctx context.Context, s subject, window time.Duration, m *meter) (r threads.Result, outcomes []outcome, err error) {
	defer func() { err = errors.Join(err, k.members.Clear()) }()
	if err := k.members.Set(s.target); err != nil {
		return r, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	wait := start(ctx, k.parts, s, window, m)
	r, err = k.ledger.Measure(ctx, window)
	if err != nil {
		cancel(err) // without the ledger nobody needs the others
	}
	outcomes = wait()
	cancel(nil)
	if err != nil {
		return r, nil, err
	}
	lost, err := k.members.Lost()
	r.Lost += lost
	return r, outcomes, err
}

func (k *kit) Close() error {
	var errs []error
	for _, p := range k.parts {
		if p.measurer != nil {
			errs = append(errs, p.measurer.Close())
		}
	}
	return errors.Join(append(errs, k.ledger.Close(), k.members.Close())...)
}

// pool keeps probes loaded between measurements: loading takes longer than all
// the rest of an answer. A probe measures one target at a time, so there are as
// many as were ever used at once.
type pool struct {
	open func() (prober, error)

	mu     sync.Mutex
	idle   []prober
	closed bool
}

func (p *pool) get() (prober, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("the agent is closed")
	}
	if n := len(p.idle); n > 0 {
		probe := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return probe, nil
	}
	p.mu.Unlock()
	return p.open()
}

func (p *pool) put(probe prober) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		probe.Close()
		return
	}
	p.idle = append(p.idle, probe)
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, probe := range p.idle {
		errs = append(errs, probe.Close())
	}
	p.idle = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the probes: %w", err)
	}
	return nil
}
