package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe tcp. Of the target as a whole, and by peer of one that
// had any: segments (with data, sent), retransmits, and what sent them again,
// by_timeout, by_fast (fast retransmit), by_tail (a tail loss probe), in segments;
// stalled, in ms of all connections, until it was sent again and acknowledged;
// gone, the same of connections whose peer has not acknowledged anything since
// (of the whole: only of those that the target opened). A peer is
// "10.0.0.5:6379" where the target is the client and "10.0.0.7 at :6379" where
// it is the server. By peer of a client: answers, unanswered (requests),
// answer_time (ms, the mean, with a histogram), answer_median, answer_max, waited
// and unanswered_time (ms inside the window, of all connections, less stalls). By
// port of the server, ":6379": served, unserved (requests at the end), served_time
// and unserved_time (ms, sums). connections, synacks (retransmitted), and by
// cgroup where there are several: group_retransmits, group_stalled.

// traffic is what there is to know of one peer. Times in ms, sums over connections.
type traffic struct {
	name                                     string
	segments, retransmits, stalled, gone     float64
	timeout, fast, tail                      float64
	answers, mean, median, longest, waited   float64
	unanswered, unansweredTime               float64
	served, servedTime, unserved, unservTime float64
	late                                     float64  // answers that took peerSlow and more
	evidence                                 []string // ids of what TCP sent
	asked                                    []string // ids of requests and answers
}

// network reads the evidence of the probe tcp: the whole and each peer or port.
func (f facts) network() (all traffic, peers []traffic) {
	for _, e := range f.m.Evidence {
		if e.Probe != "tcp" {
			continue
		}
		t := &all
		if e.Subject != "" {
			i := slices.IndexFunc(peers, func(p traffic) bool { return p.name == e.Subject })
			if i < 0 {
				i = len(peers)
				peers = append(peers, traffic{name: e.Subject})
			}
			t = &peers[i]
		}
		sent := map[string]*float64{
			"segments": &t.segments, "retransmits": &t.retransmits, "stalled": &t.stalled, "gone": &t.gone,
			"by_timeout": &t.timeout, "by_fast": &t.fast, "by_tail": &t.tail,
		}[e.Metric]
		asked := map[string]*float64{
			"answers": &t.answers, "answer_time": &t.mean, "answer_median": &t.median, "answer_max": &t.longest,
			"waited": &t.waited, "unanswered": &t.unanswered, "unanswered_time": &t.unansweredTime,
			"served": &t.served, "served_time": &t.servedTime, "unserved": &t.unserved, "unserved_time": &t.unservTime,
		}[e.Metric]
		switch {
		case sent != nil:
			*sent = e.Value
			t.evidence = append(t.evidence, e.ID)
		case asked != nil:
			*asked = e.Value
			for _, b := range e.Histogram {
				if e.Metric == "answer_time" && b.UpTo >= 2*peerSlow { // a bucket begins at half of where it ends
					t.late += float64(b.Count)
				}
			}
			t.asked = append(t.asked, e.ID)
		}
	}
	return all, peers
}

// lossy reports whether enough is sent again to speak of.
func (t traffic) lossy() bool {
	return t.retransmits >= retransmitMin && t.retransmits >= retransmitRate*t.segments
}

// stalls is how long the target's threads can have lost to retransmission, in ms:
// a server of many connections sleeps once while all of them stall.
func (f facts) stalls() float64 {
	if f.m.Window.Recorded {
		return f.recordedStalls()
	}
	all, _ := f.network()
	if !all.lossy() {
		return 0
	}
	return min(all.stalled+all.gone, f.idle())
}

// slowPeers are those that answer late, most waited for first, and how long
// threads can have waited for all of them, in ms.
func (f facts) slowPeers() (slow []traffic, waited float64) {
	_, peers := f.network()
	for _, p := range peers {
		if p.answers < peerAnswers || p.mean < peerSlow {
			continue
		}
		// Half of the answers at once: a worker's long poll beside its other
		// requests, or losses, unless there are many late ones or the target's own
		// clients wait for it.
		tail := p.late >= peerTail && p.longest <= peerPoll
		if p.median < peerSlow/2 && (p.lossy() || !tail && !f.clientsWait(p.waited)) {
			continue
		}
		if p.mean > peerPoll && !f.clientsWait(p.waited) {
			continue
		}
		slow = append(slow, p)
		waited += p.waited + p.unansweredTime
	}
	slices.SortStableFunc(slow, func(a, b traffic) int { return int(b.waited) - int(a.waited) })
	return slow, min(waited, max(0, f.idle()-f.stalls()))
}

// clientsWait reports whether the target's own clients waited for it for most of
// the time that it waited, in ms: then it was for them, and no poll of its own.
func (f facts) clientsWait(waited float64) bool {
	_, peers := f.network()
	inbound := 0.0
	for _, p := range peers {
		inbound += p.servedTime + p.unservTime
	}
	return inbound >= clientsShare*waited
}

// networkLost labels time in sleep and user_lock.
func networkLost(f facts) float64 {
	_, waited := f.slowPeers()
	return f.stalls() + waited
}

// network causes: net.retransmit, net.peer_slow, and what may be either a peer
// that hangs or a long poll.
func networks(f facts) []incident.Finding {
	var out []incident.Finding
	if fd, ok := retransmit(f); ok {
		out = append(out, fd)
	}
	slow, ok := peerSlowly(f)
	if ok {
		out = append(out, slow)
	}
	if fd, hangs := noAnswer(f); hangs && !ok {
		out = append(out, fd)
	}
	return out
}

func retransmit(f facts) (incident.Finding, bool) {
	if f.m.Window.Recorded {
		return f.recordedRetransmit()
	}
	all, peers := f.network()
	lost := f.stalls()
	if !all.lossy() || !f.over(lost, retransmitShare) {
		return incident.Finding{}, false
	}
	slices.SortStableFunc(peers, func(a, b traffic) int { return int(b.stalled+b.gone) - int(a.stalled+a.gone) })
	var names []string
	evidence := all.evidence
	for _, p := range peers {
		if p.retransmits > 0 {
			names = append(names, fmt.Sprintf("%s %.0f of %.0f", p.name, p.retransmits, p.segments))
			evidence = append(evidence, p.evidence...)
		}
	}
	var how []string
	for _, kind := range []struct {
		n    float64
		what string
	}{{all.timeout, "by timeout"}, {all.tail, "by tail loss probe"}, {all.fast, "by fast retransmit"}} {
		if kind.n > 0 {
			how = append(how, fmt.Sprintf("%.0f %s", kind.n, kind.what))
		}
	}
	msg := fmt.Sprintf("TCP retransmitted %.0f of %.0f segments (%s), connections stalled for %s ms",
		all.retransmits, all.segments, strings.Join(how, ", "), ms(all.stalled+all.gone))
	if all.gone > all.stalled {
		msg += fmt.Sprintf(", %s ms of them without an acknowledgement since", ms(all.gone))
	}
	if len(names) > 0 {
		msg += "; " + strings.Join(names[:min(3, len(names))], ", ")
	}
	return incident.Finding{
		Cause:     incident.NetRetransmit,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: f.threshold(retransmitShare) + fmt.Sprintf(", at least %d retransmits and %.0f%% of the segments", retransmitMin, 100*retransmitRate),
		Message:   msg,
		Evidence:  append(evidence, f.cite("active")...),
	}, true
}

func peerSlowly(f facts) (incident.Finding, bool) {
	slow, waited := f.slowPeers()
	if len(slow) == 0 || !f.over(waited, peerShare) {
		return incident.Finding{}, false
	}
	var parts, evidence []string
	for _, p := range slow {
		said := fmt.Sprintf("%s answers after %.1f ms on average (%.0f requests, longest %s ms", p.name, p.mean, p.answers, ms(p.longest))
		if p.unanswered > 0 {
			said += fmt.Sprintf(", %.0f unanswered", p.unanswered)
		}
		parts = append(parts, said+")")
		evidence = append(evidence, p.asked...)
	}
	return incident.Finding{
		Cause:     incident.NetPeerSlow,
		Verdict:   incident.Confirmed,
		Share:     f.share(waited),
		Threshold: f.threshold(peerShare) + fmt.Sprintf(", at least %d answers of %.0f ms on average", peerAnswers, peerSlow),
		Message:   fmt.Sprintf("waited %s ms for peers: %s", ms(waited), strings.Join(parts[:min(3, len(parts))], "; ")),
		Evidence:  append(evidence, f.cite("sleep", "user_lock", "active")...),
	}, true
}

// noAnswer is a doubt: requests that are open for most of the window. A peer that
// hangs and a long poll look alike, and matter only where the target does not go
// on with something else meanwhile, or its own clients wait.
func noAnswer(f facts) (incident.Finding, bool) {
	_, peers := f.network()
	var answers, served, unserved, open float64
	var parts, evidence []string
	for _, p := range peers {
		answers, served, unserved = answers+p.answers, served+p.served, unserved+p.unservTime
		late := p.answers >= peerAnswers && p.mean > peerPoll
		if p.unansweredTime >= pollShare*f.window || late {
			open += p.unansweredTime + p.waited
			parts = append(parts, fmt.Sprintf("%s (%.0f open, %.0f answered)", p.name, p.unanswered, p.answers))
			evidence = append(evidence, p.asked...)
			answers -= p.answers
		}
	}
	open = min(open, f.idle())
	goesOn := answers+served > 0 || f.active >= idleShare*f.window
	if len(parts) == 0 || open < f.floor() || goesOn && unserved < pollShare*f.window {
		return incident.Finding{}, false
	}
	return incident.Finding{
		Verdict: incident.Inconclusive,
		Share:   min(1, open/max(1, f.base+open)),
		Message: fmt.Sprintf("requests are open for %s ms: net.peer_slow (the peer hangs or answers very late) or a long poll, which cannot be told apart: %s",
			ms(open), strings.Join(parts[:min(3, len(parts))], ", ")),
		Evidence: evidence,
	}, true
}
