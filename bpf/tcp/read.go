package tcp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unsafe"
)

const recordSize = int(unsafe.Sizeof(tcpConn{}))

// read fills r from the records of end_sockets and from the maps.
func (p *Probe) read(r *Result, written []byte) error {
	records := make([]tcpConn, len(written)/recordSize)
	if _, err := binary.Decode(written, binary.NativeEndian, records); err != nil {
		return fmt.Errorf("decoding %d bytes of connections: %w", len(written), err)
	}
	peers := map[tcpPeer]*Peer{}
	for _, rec := range records {
		add(peers, rec.Peer, rec.T, rec.AnswerMax)
	}
	if err := p.readClosed(peers); err != nil {
		return err
	}
	if err := p.readListeners(r); err != nil {
		return err
	}
	for _, peer := range peers {
		r.Connections += peer.Connections
		r.Peers = append(r.Peers, *peer)
	}
	weight := func(p Peer) time.Duration { return p.Stalled() + p.GoneStall + p.Waited + p.UnansweredTime }
	slices.SortFunc(r.Peers, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), a.Addr.Compare(b.Addr), cmp.Compare(a.LocalPort, b.LocalPort),
			cmp.Compare(a.CgroupID, b.CgroupID), cmp.Compare(a.NetNS, b.NetNS))
	})
	return p.objs.Lost.Get(&r.Lost)
}

func (p *Probe) readClosed(peers map[tcpPeer]*Peer) error {
	var key tcpPeer
	var c tcpClosedPeer
	it := p.objs.ClosedPeers.Iterate()
	for it.Next(&key, &c) {
		add(peers, key, c.T, c.AnswerMax)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading the closed connections: %w", err)
	}
	return nil
}

func (p *Probe) readListeners(r *Result) error {
	var key tcpEndpoint
	var l tcpListener
	it := p.objs.Listeners.Iterate()
	for it.Next(&key, &l) {
		r.SynAcks += l.Synacks
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading the ports that the target listens on: %w", err)
	}
	return nil
}

func add(peers map[tcpPeer]*Peer, key tcpPeer, t tcpTotals, answerMax uint64) {
	p := peers[key]
	if p == nil {
		p = &Peer{
			Addr:      netip.AddrPortFrom(netip.AddrFrom16(key.Addr).Unmap(), key.Port),
			LocalPort: key.Local,
			Role:      Role(key.Role),
			NetNS:     key.Netns,
			CgroupID:  key.Cgroup,
		}
		peers[key] = p
	}
	o := Peer{
		Connections: t.Sockets,
		Segments:    t.Segments, Retransmits: t.Retransmits,
		TimeoutSegments: t.ByTimeout, FastSegments: t.ByFast, TailSegments: t.ByProbe,
		Timeouts:     t.Timeouts,
		TimeoutStall: time.Duration(t.TimeoutNs), FastStall: time.Duration(t.FastNs), TailStall: time.Duration(t.ProbeNs),
		GoneStall: time.Duration(t.GoneNs),
	}
	if p.Role == Server { // the kernel's side keeps both directions of each
		o.Served, o.ServedTime = t.Served, time.Duration(t.ServedNs)
		o.Unserved, o.UnservedTime = t.Unserved, time.Duration(t.UnservedNs)
	} else {
		o.Answers, o.AnswerTime, o.AnswerMax = t.Answers, time.Duration(t.AnswerNs), time.Duration(answerMax)
		o.Waited, o.Buckets = time.Duration(t.WaitedNs), t.Buckets
		o.Unanswered, o.UnansweredTime = t.Unanswered, time.Duration(t.UnansweredNs)
	}
	p.Add(o)
}
