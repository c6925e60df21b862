package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/bpf/probe"
)

// Measure attaches, waits for the window, reads the connections and detaches. It
// blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised: a second one waits for the
// first, or for its own ctx.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	return probe.InTurn(ctx, window, &p.turns, p.measure)
}

func (p *Probe) measure(ctx context.Context, window time.Duration) (r Result, err error) {
	missed, err := p.missed()
	if err != nil {
		return r, err
	}
	if err := p.reset(); err != nil {
		return r, err
	}
	ls, err := probe.Attach(p.programs()...)
	defer func() {
		if cerr := ls.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("detaching: %w", cerr)
		}
	}()
	if err != nil {
		return r, err
	}
	if err := probe.Ready(ctx); err != nil {
		return r, err
	}
	_, end, err := probe.OpenWindow(window, p.objs.WindowStart, p.objs.WindowEnd)
	if err != nil {
		return r, err
	}
	r.Start, r.Window = time.Now(), window
	// Attached first: a connection made meanwhile is seen by one of the two.
	if _, err := probe.Iterate(p.objs.BeginSockets); err != nil {
		return r, fmt.Errorf("finding the target's connections: %w", err)
	}
	if err := probe.WaitUntil(ctx, end); err != nil {
		return r, err
	}
	records, err := p.finish()
	if err != nil {
		return r, fmt.Errorf("closing the target's connections: %w", err)
	}
	if err := p.read(&r, records); err != nil {
		return r, err
	}
	after, err := p.missed()
	r.Missed = after - missed
	return r, err
}

// reset empties what the last window left and begins a new one, still closed.
func (p *Probe) reset() error {
	p.window++
	return errors.Join(
		p.objs.WindowEnd.Set(uint64(0)),
		probe.ClearMap[tcpPeer](p.objs.ClosedPeers),
		probe.ClearMap[tcpEndpoint](p.objs.Listeners),
		p.objs.Lost.Set(uint64(0)),
		p.objs.SocketCount.Set(uint32(0)),
		p.objs.WindowId.Set(p.window),
	)
}

// finish closes every connection at the window's end and returns their states.
func (p *Probe) finish() ([]byte, error) {
	it, err := link.AttachIter(link.IterOptions{Program: p.objs.EndSockets, Map: p.objs.Sockets})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// missed is how many events the kernel skipped since the programs were loaded.
func (p *Probe) missed() (n uint64, err error) {
	for _, prog := range p.programs() {
		stats, err := prog.Stats()
		if err != nil {
			return 0, fmt.Errorf("reading about %s: %w", prog, err)
		}
		n += stats.RecursionMisses
	}
	return n, nil
}
