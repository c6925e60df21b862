package cause

import (
	"fmt"

	"github.com/kmend/kmend/incident"
)

// Evidence of the flight recorder about TCP, with the probe recorder, where it knows
// whose a socket is: tcp_retransmits, in segments; tcp_stalled, in ms of all
// connections, until a segment was sent again (of those that a client opened, only
// what it has acknowledged since), 0 or not; tcp_segments, what the target's network
// namespaces sent in the seconds for which that is known, others' and
// acknowledgements among them, and tcp_counted, the retransmits in those seconds.

// recordedTCP is what a recorded window knows; ok is false where it knows nothing.
func (f facts) recordedTCP() (t traffic, counted float64, ok bool) {
	if !f.m.Window.Recorded || !worked(f.m, "recorder") {
		return t, 0, false
	}
	value := func(metric string) float64 { e, _ := f.find("recorder", metric); return e.Value }
	_, ok = f.find("recorder", "tcp_stalled")
	t = traffic{retransmits: value("tcp_retransmits"), stalled: value("tcp_stalled"), segments: value("tcp_segments")}
	t.evidence = f.citeFrom("recorder", "tcp_retransmits", "tcp_stalled", "tcp_segments", "tcp_counted")
	return t, value("tcp_counted"), ok
}

// recordedLossy is lossy of a window of which only what the namespace sent is known:
// the target sent no more than that, so it may be lossy and this does not say so.
func recordedLossy(t traffic, counted float64) bool {
	return t.retransmits >= retransmitMin && t.segments > 0 && counted >= retransmitRate*t.segments
}

// recordedStalls is what stalls() is for a recorded window.
func (f facts) recordedStalls() float64 {
	t, counted, ok := f.recordedTCP()
	if !ok || !recordedLossy(t, counted) {
		return 0
	}
	return min(t.stalled, f.idle())
}

// recordedRetransmit is the cause in a recorded window.
func (f facts) recordedRetransmit() (incident.Finding, bool) {
	t, counted, _ := f.recordedTCP()
	lost := f.stalls()
	if !f.over(lost, retransmitShare) {
		return incident.Finding{}, false
	}
	return incident.Finding{
		Cause:     incident.NetRetransmit,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: f.threshold(retransmitShare) + fmt.Sprintf(", at least %d retransmits and %.0f%% of what its network namespace sent", retransmitMin, 100*retransmitRate),
		Message: fmt.Sprintf("TCP retransmitted %.0f segments, %.0f of them among %.0f that its network namespace sent; connections stalled for %s ms",
			t.retransmits, counted, t.segments, ms(t.stalled)),
		Evidence: append(t.evidence, f.cite("active")...),
	}, true
}

// retransmitOpen reports whether a recorded window leaves the cause open: nobody
// knows whose sockets there are, or they stall, and how much they sent is not known.
func (f facts) retransmitOpen() bool {
	t, counted, ok := f.recordedTCP()
	if !ok {
		return true
	}
	if t.retransmits < retransmitMin || recordedLossy(t, counted) {
		return false
	}
	lost := min(t.stalled, f.idle())
	return lost >= f.floor() && lost >= retransmitShare*(f.base+lost)
}
