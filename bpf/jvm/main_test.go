package jvm

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

type loaded struct {
	members *probe.Members
	probe   *Probe
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (l loaded, err error) {
	if l.members, err = probe.NewMembers(64); err == nil {
		l.probe, err = Load(DefaultOptions(), l.members)
	}
	return l, err
})

// measure opens a window; begin and end are on CLOCK_MONOTONIC, to a millisecond.
func measure(t *testing.T, window time.Duration, pids ...int) (r Result, begin, end time.Duration) {
	t.Helper()
	rig.Root(t)
	l, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	if r, err = l.probe.Measure(t.Context(), "/proc", pids, window); err != nil {
		t.Fatal(err)
	}
	now, err := probe.Monotonic()
	if err != nil {
		t.Fatal(err)
	}
	begin = now - time.Since(r.Start)
	t.Logf("window %v, %v more", window, (time.Since(asked) - window).Round(time.Millisecond))
	for _, j := range r.JVMs {
		t.Logf("  %d %s: pauses %v, other safepoints %v, full %d, heap %d -> %d kB; counted %v; stalls %v; CPU app %.0f, collector %.0f (stalled %.0f), other %.0f ms; %s %s",
			j.PID, j.Collector, j.Pauses, j.Safepoints, j.Full, j.HeapBefore>>10, j.HeapAfter>>10, j.Counted, j.Stalls,
			ms(j.AppNS), ms(j.CollectorNS), ms(j.StalledNS), ms(j.OtherNS), j.Unprobed, j.Unread)
	}
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	return r, begin, begin + window
}

func ms(ns uint64) float64 { return float64(ns) / 1e6 }
