// Package tcp is the probe of the target's TCP connections: for one bounded
// window, which peers did it talk to, what had to be retransmitted and how long
// that stalled it, and how long did the peers take to answer?
//
// It is on the node side: diagnose/agent says whom to measure and turns the
// Result into evidence for net.retransmit and net.peer_slow. Nothing is attached
// to the kernel outside a window.
package tcp

import (
	"net/netip"
	"time"
)

// NumBuckets is the number of buckets of Peer.Buckets.
const NumBuckets = 24

// Role is the target's part in a connection.
type Role uint8

const (
	Client Role = iota // it asks
	Server             // it was asked: its port is one that the target listens on, or the peer connected
)

// Peer is every connection of the target to one peer, as one of its task groups
// in one network namespace, those that ended inside the window among them.
// Times are sums over connections: ten that wait for a second are ten seconds.
type Peer struct {
	// Addr is the peer's address and, where the target is the client, its port;
	// where it is the server, port 0.
	Addr      netip.AddrPort
	LocalPort uint16 // the target's, where it is the server; 0 otherwise
	Role      Role
	NetNS     uint32 // inode number, as in /proc/PID/ns/net
	CgroupID  uint64 // of whoever opened the connection or listened: inode in the cpu controller's hierarchy

	Connections uint64

	// Segments with data that were sent, retransmits among them, and Retransmits
	// of any segment (a SYN has no data). The latter are split by what sent them:
	// a timeout (RTO), fast retransmit, a tail loss probe.
	Segments, Retransmits                       uint64
	TimeoutSegments, FastSegments, TailSegments uint64
	Timeouts                                    uint64 // that fired; each doubles the next

	// How long nothing could be sent: until timeouts, one round trip for each fast
	// recovery, until tail loss probes.
	TimeoutStall, FastStall, TailStall time.Duration
	// GoneStall is that of connections whose peer has not acknowledged anything
	// since the last timeout: it may never again.
	GoneStall time.Duration

	// Role client. Answers: data came in after data had gone out. Each took from the last byte
	// out to the first byte in, less the stalls above; AnswerTime is their sum,
	// Waited what of it was inside the window. With many requests under way at
	// once on one connection only the youngest is timed.
	Answers                       uint64
	AnswerTime, AnswerMax, Waited time.Duration
	// Buckets counts answers by time: bucket i those below 2^i us, and not below
	// 2^(i-1); the last one all above.
	Buckets [NumBuckets]uint64
	// Unanswered requests at the end of the window or when the target closed the
	// connection, and how long they had waited inside the window.
	Unanswered     uint64
	UnansweredTime time.Duration

	// Role server. The reverse: data went out after data had come in, a request
	// was served.
	Served       uint64
	ServedTime   time.Duration
	Unserved     uint64 // at the end of the window
	UnservedTime time.Duration
}

// Stalled is how long retransmission stalled the connections that recovered.
func (p Peer) Stalled() time.Duration { return p.TimeoutStall + p.FastStall + p.TailStall }

// Add adds the connections of o, to the same peer or another.
func (p *Peer) Add(o Peer) {
	p.Connections += o.Connections
	p.Segments += o.Segments
	p.Retransmits += o.Retransmits
	p.TimeoutSegments += o.TimeoutSegments
	p.FastSegments += o.FastSegments
	p.TailSegments += o.TailSegments
	p.Timeouts += o.Timeouts
	p.TimeoutStall += o.TimeoutStall
	p.FastStall += o.FastStall
	p.TailStall += o.TailStall
	p.GoneStall += o.GoneStall
	p.Answers += o.Answers
	p.AnswerTime += o.AnswerTime
	p.AnswerMax = max(p.AnswerMax, o.AnswerMax)
	p.Waited += o.Waited
	for i, n := range o.Buckets {
		p.Buckets[i] += n
	}
	p.Unanswered += o.Unanswered
	p.UnansweredTime += o.UnansweredTime
	p.Served += o.Served
	p.ServedTime += o.ServedTime
	p.Unserved += o.Unserved
	p.UnservedTime += o.UnservedTime
}

// Result is one measured window.
type Result struct {
	Start       time.Time
	Window      time.Duration
	Connections uint64
	Peers       []Peer // longest stalls and waits first
	// SynAcks were retransmitted by the ports that the target listens on: somebody
	// does not complete a connection.
	SynAcks uint64
	Lost    uint64 // connections that could not be recorded
	Missed  uint64 // events that the kernel skipped because they interrupted another: answers may be missing
}
