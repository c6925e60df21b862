package tcp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/kmend/kmend/bpf/probe"
)

// Probe is the loaded program, detached outside of a window.
type Probe struct {
	objs   tcpObjects
	window uint32 // number of the last one
	turns  probe.Turns
}

// Supported is nil or a *probe.UnsupportedError.
func Supported() error {
	return probe.Supported("tcp", "inet_sock_set_state", "tcp_probe", "tcp_retransmit_skb", "tcp_retransmit_synack")
}

// Load verifies and loads the programs and maps; nothing is attached yet. The
// probe measures whom members holds. The error may be a *probe.UnsupportedError.
func Load(o Options, members *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadTcp()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	tick, err := probe.Tick()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		spec.Variables[tcpVarTickNs].Set(uint64(tick)),
		spec.Variables[tcpVarMaxSockets].Set(uint32(o.MaxConnections)),
	)
	if err != nil {
		return nil, fmt.Errorf("setting the probe's sizes: %w", err)
	}
	spec.Maps[tcpMapClosedPeers].MaxEntries = uint32(o.MaxPeers)
	spec.Maps[tcpMapListeners].MaxEntries = uint32(o.MaxPorts)
	p := &Probe{turns: probe.NewTurns("tcp")}
	if err := members.Load(spec, &p.objs, "tcp"); err != nil {
		return nil, err
	}
	return p, nil
}

// Close unloads everything. It waits for a Measure that runs. Closing twice is
// harmless.
func (p *Probe) Close() error { return p.turns.Close(p.objs.Close) }

// programs in the order in which they are attached: what begins a connection
// comes last, so that its end is not missed.
func (p *Probe) programs() []*ebpf.Program {
	return []*ebpf.Program{p.objs.OnSegment, p.objs.OnRetransmit, p.objs.OnSynack, p.objs.OnState, p.objs.OnOpen}
}
