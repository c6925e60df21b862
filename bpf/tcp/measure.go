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

// MaxWindow bounds a window: the probe costs every segment of the node while it is open.
const MaxWindow = 5 * time.Minute

// Measure attaches, waits for the window, reads the connections and detaches. It
// blocks for the window and some milliseconds. When ctx ends it detaches and
// returns the cause at once. Calls are serialised: a second one waits for the
// first, or for its own ctx.
func (p *Probe) Measure(ctx context.Context, window time.Duration) (Result, error) {
	if window <= 0 || window > MaxWindow {
		return Result{}, fmt.Errorf("window is %v, allowed are more than 0 up to %v", window, MaxWindow)
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for another window to close: %w", context.Cause(ctx))
	}
	if p.closed {
		return Result{}, errors.New("measuring tcp: the probe is closed")
	}
	r, err := p.measure(ctx, window)
	if err != nil {
		return Result{}, fmt.Errorf("measuring tcp: %w", err)
	}
	return r, nil
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
	start, err := p.open(window)
	if err != nil {
		return r, err
	}
	r.Start, r.Window = time.Now(), window
	// Attached first: a connection made meanwhile is seen by one of the two.
	if _, err := probe.Iterate(p.objs.BeginSockets); err != nil {
		return r, fmt.Errorf("finding the target's connections: %w", err)
	}
	if err := probe.WaitUntil(ctx, start+window); err != nil {
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

// open begins the window, now.
func (p *Probe) open(window time.Duration) (start time.Duration, err error) {
	if start, err = probe.Monotonic(); err != nil {
		return 0, err
	}
	return start, errors.Join(p.objs.WindowStart.Set(uint64(start)), p.objs.WindowEnd.Set(uint64(start+window)))
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
