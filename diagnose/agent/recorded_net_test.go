package agent

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
)

// freeAddr is one that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Requests are lost for four seconds; asked later, that is confirmed, where a socket
// knows its cgroup, and elsewhere not measured.
func TestRecordedLosses(t *testing.T) {
	l := newLab(t)
	dir, calm, peers := l.group("target", targetWeight, 0), l.group("calm", targetWeight, 0), l.group("peers", targetWeight, 0)
	a := l.record()
	addr, other := freeAddr(t), freeAddr(t)
	l.load([]string{peers}, "-mode", "answer", "-addr", addr, "-loss", "0.1")
	l.load([]string{peers}, "-mode", "answer", "-addr", other)
	time.Sleep(1200 * time.Millisecond)
	l.load([]string{calm}, "-mode", "ask", "-addr", other, "-off", "50ms", "-duration", "4s")
	since := time.Now()
	_, _ = l.load([]string{dir}, "-mode", "ask", "-addr", addr, "-threads", "4", "-on", "1ms", "-off", "5ms", "-duration", "4s").Wait()
	until := time.Now()
	time.Sleep(4500 * time.Millisecond)

	m, d := l.past(a, dir, since, until)
	if !l.cpu.V2 {
		if !slices.Contains(d.NotMeasured, incident.NetRetransmit) || evidence(m, "recorder", "tcp_stalled", "") != -1 {
			t.Errorf("not measured: %v", d.NotMeasured)
		}
		t.Log("on cgroup v1 nobody knows whose a socket is; the rest runs in test/kernels")
		return
	}
	f, ok := d.Finding(incident.NetRetransmit)
	if !ok || !f.Recorded || f.Verdict != incident.Confirmed || slices.Contains(d.NotMeasured, incident.NetRetransmit) {
		t.Errorf("%s %+v, not measured %v; want net.retransmit, recorded", d.Verdict, d.Findings, d.NotMeasured)
	}
	// Four connections, each of which may stall all the time.
	if stalled, length := evidence(m, "recorder", "tcp_stalled", ""), ms(until.Sub(since)); stalled < 0.3*length || stalled > 4*length {
		t.Errorf("stalled for %v ms of %v", stalled, length)
	}
	again, counted := evidence(m, "recorder", "tcp_retransmits", ""), evidence(m, "recorder", "tcp_counted", "")
	if sent := evidence(m, "recorder", "tcp_segments", ""); counted < again/4 || counted > again || sent < 10*counted/2 {
		t.Errorf("%v retransmits, %v of them among %v segments", again, counted, sent)
	}

	// Whose segments arrive, in the same namespace, has sent nothing again, and that is known.
	_, d = l.past(a, calm, since, until)
	if _, ok := d.Finding(incident.NetRetransmit); ok || slices.Contains(d.NotMeasured, incident.NetRetransmit) {
		t.Errorf("one that loses nothing: %+v, not measured %v", d.Findings, d.NotMeasured)
	}
	// Nothing is lost afterwards.
	_, d = l.past(a, dir, until.Add(1200*time.Millisecond), time.Now())
	if _, ok := d.Finding(incident.NetRetransmit); ok {
		t.Errorf("afterwards %+v", d.Findings)
	}

	// Without the segments of its namespace nobody knows how much was lost of what.
	m, _ = l.past(a, dir, since, until)
	m.Evidence = slices.DeleteFunc(m.Evidence, func(e incident.Evidence) bool { return e.Metric == "tcp_segments" })
	d = cause.Diagnose(m)
	if _, ok := d.Finding(incident.NetRetransmit); ok || !slices.Contains(d.NotMeasured, incident.NetRetransmit) {
		t.Errorf("without the segments: %+v, not measured %v", d.Findings, d.NotMeasured)
	}
}
