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
	var perCPU []tcpClosedPeer
	it := p.objs.ClosedPeers.Iterate()
	for it.Next(&key, &perCPU) {
		for _, c := range perCPU {
			if c.T.Sockets > 0 {
				add(peers, key, c.T, c.AnswerMax)
			}
		}
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
	p.Connections += t.Sockets
	p.Segments += t.Segments
	p.Retransmits += t.Retransmits
	p.TimeoutSegments += t.ByTimeout
	p.FastSegments += t.ByFast
	p.TailSegments += t.ByProbe
	p.Timeouts += t.Timeouts
	p.TimeoutStall += time.Duration(t.TimeoutNs)
	p.FastStall += time.Duration(t.FastNs)
	p.TailStall += time.Duration(t.ProbeNs)
	p.GoneStall += time.Duration(t.GoneNs)
	p.Answers += t.Answers
	p.AnswerTime += time.Duration(t.AnswerNs)
	p.AnswerMax = max(p.AnswerMax, time.Duration(answerMax))
	p.Waited += time.Duration(t.WaitedNs)
	p.Unanswered += t.Unanswered
	p.UnansweredTime += time.Duration(t.UnansweredNs)
	p.Served += t.Served
	p.ServedTime += time.Duration(t.ServedNs)
	p.Unserved += t.Unserved
	p.UnservedTime += time.Duration(t.UnservedNs)
	for i, n := range t.Buckets {
		p.Buckets[i] += n
	}
}
