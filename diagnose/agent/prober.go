package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kmend/kmend/bpf/threads"
)

// prober is a loaded probe: *threads.Probe.
type prober interface {
	Measure(ctx context.Context, t threads.Target, window time.Duration) (threads.Result, error)
	Close() error
}

func openThreads() (prober, error) {
	p, err := threads.Load(threads.DefaultOptions())
	if err != nil {
		return nil, err
	}
	return p, nil
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
