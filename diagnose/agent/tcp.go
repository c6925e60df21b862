package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/tcp"
	"github.com/kmend/kmend/incident"
)

// connections measures TCP. Its evidence is listed at the top of diagnose/cause/net.go.
type connections struct{ probe *tcp.Probe }

func loadConnections(m *probe.Members) (measurer, error) {
	p, err := tcp.Load(tcp.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	return connections{p}, nil
}

func (c connections) Close() error { return c.probe.Close() }

func (c connections) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	r, err := c.probe.Measure(ctx, window)
	if err != nil {
		return reading{}, err
	}
	names := s.node.Names()
	out := reading{evidence: ofConnections(r, func(id uint64) string { return names[id] }), lost: r.Lost}
	out.peers = neighbours{proc: s.proc, node: s.node}.find(ctx, asked(r), s.living())
	return out, nil
}

// topPeers bounds the peers that evidence names; the sums have all of them.
const topPeers = 8

// ofConnections is the evidence of a window. group names a cgroup by its id.
func ofConnections(r tcp.Result, group func(uint64) string) (es evidences) {
	var sum tcp.Peer
	var stalled, gone time.Duration
	for _, p := range r.Peers {
		sum.Segments += p.Segments
		sum.Retransmits += p.Retransmits
		sum.TimeoutSegments += p.TimeoutSegments
		sum.FastSegments += p.FastSegments
		sum.TailSegments += p.TailSegments
		stalled += p.Stalled()
		if p.Role == tcp.Client { // a client that went away stalls nobody
			gone += p.GoneStall
		}
	}
	es.add("connections", "", float64(r.Connections), "connections")
	es.retransmits("", sum)
	es.add("stalled", "", millis(uint64(stalled)), "ms")
	es.add("gone", "", millis(uint64(gone)), "ms")
	if r.SynAcks > 0 {
		es.add("synacks", "", float64(r.SynAcks), "segments")
	}
	es.groups(r, group)
	peers := byName(r)
	for _, p := range peers[:min(len(peers), topPeers)] {
		es.peer(p.Peer, p.name)
	}
	for _, port := range portsOf(r) {
		es.add("served", port.name, float64(port.Served), "requests")
		es.add("served_time", port.name, millis(uint64(port.ServedTime)), "ms")
		es.add("unserved", port.name, float64(port.Unserved), "requests")
		es.add("unserved_time", port.name, millis(uint64(port.UnservedTime)), "ms")
	}
	return es
}

func (es *evidences) retransmits(subject string, p tcp.Peer) {
	es.add("segments", subject, float64(p.Segments), "segments")
	es.add("retransmits", subject, float64(p.Retransmits), "segments")
	es.add("by_timeout", subject, float64(p.TimeoutSegments), "segments")
	es.add("by_fast", subject, float64(p.FastSegments), "segments")
	es.add("by_tail", subject, float64(p.TailSegments), "segments")
}

// groups says which of several cgroups of the target retransmits.
func (es *evidences) groups(r tcp.Result, group func(uint64) string) {
	count, stalled := map[uint64]uint64{}, map[uint64]time.Duration{}
	for _, p := range r.Peers {
		count[p.CgroupID] += p.Retransmits
		stalled[p.CgroupID] += p.Stalled() + p.GoneStall
	}
	ids := slices.SortedFunc(maps.Keys(count), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	for _, id := range ids[:min(len(ids), topPeers)] {
		if count[id] == 0 || len(ids) == 1 {
			return
		}
		name := printable(group(id))
		if name == "" {
			name = fmt.Sprintf("id:%d", id)
		}
		es.add("group_retransmits", name, float64(count[id]), "segments")
		es.add("group_stalled", name, millis(uint64(stalled[id])), "ms")
	}
}

// peer is what there is to say of one: nothing of one that is only connected.
func (es *evidences) peer(p tcp.Peer, name string) {
	if p.Retransmits > 0 || p.Stalled()+p.GoneStall > 0 {
		es.retransmits(name, p)
		es.add("stalled", name, millis(uint64(p.Stalled())), "ms")
		es.add("gone", name, millis(uint64(p.GoneStall)), "ms")
	}
	if p.Answers > 0 {
		es.add("answers", name, float64(p.Answers), "requests")
		e := es.add("answer_time", name, millis(uint64(p.AnswerTime))/float64(p.Answers), "ms")
		e.Histogram = histogram(p.Buckets)
		es.add("answer_median", name, medianOf(p), "ms")
		es.add("answer_max", name, millis(uint64(p.AnswerMax)), "ms")
		es.add("waited", name, millis(uint64(p.Waited)), "ms")
	}
	if p.Unanswered > 0 {
		es.add("unanswered", name, float64(p.Unanswered), "requests")
		es.add("unanswered_time", name, millis(uint64(p.UnansweredTime)), "ms")
	}
}

func histogram(buckets [tcp.NumBuckets]uint64) (out []incident.Bucket) {
	for i, n := range buckets {
		if n > 0 {
			out = append(out, incident.Bucket{UpTo: float64(uint64(1)<<i) / 1e3, Count: n})
		}
	}
	return out
}

// medianOf is the lower end, in ms, of the bucket with the median answer.
func medianOf(p tcp.Peer) float64 {
	var n uint64
	for i, c := range p.Buckets {
		if n += c; 2*n >= p.Answers {
			return float64(uint64(1)<<i/2) / 1e3
		}
	}
	return 0
}

type named struct {
	tcp.Peer
	name string
}

// byName joins a peer's connections from several groups and namespaces, those
// with the longest stalls and waits first. Requests between two parts of the
// target are no waits for a peer: what takes long there has its own cause.
func byName(r tcp.Result) (out []named) {
	for _, p := range r.Peers {
		name := p.Addr.String()
		if p.Role == tcp.Server {
			name = fmt.Sprintf("%s at :%d", p.Addr.Addr(), p.LocalPort)
		}
		if inside(r, p) {
			p.Answers, p.Unanswered = 0, 0
		}
		out = merge(out, p, name)
	}
	return out
}

// portsOf joins what the target served by its ports.
func portsOf(r tcp.Result) (out []named) {
	for _, p := range r.Peers {
		if p.Served+p.Unserved > 0 {
			out = merge(out, p, fmt.Sprintf(":%d", p.LocalPort))
		}
	}
	return out[:min(len(out), topPeers)]
}

func merge(all []named, p tcp.Peer, name string) []named {
	i := slices.IndexFunc(all, func(n named) bool { return n.name == name })
	if i < 0 {
		return append(all, named{p, name})
	}
	all[i].Add(p)
	return all
}

// inside reports whether the target is both ends of the connections.
func inside(r tcp.Result, p tcp.Peer) bool {
	return p.Role == tcp.Client && slices.ContainsFunc(r.Peers, func(s tcp.Peer) bool {
		return s.Role == tcp.Server && s.NetNS == p.NetNS && s.LocalPort == p.Addr.Port() && s.Addr.Addr() == p.Addr.Addr()
	})
}
