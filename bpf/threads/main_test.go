package threads

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// bench is a probe and whom it measures.
type bench struct {
	*Probe
	members *probe.Members
}

func open(o Options) (bench, error) {
	members, err := probe.NewMembers(o.MaxGroups)
	if err != nil {
		return bench{}, err
	}
	p, err := Load(o, members)
	return bench{p, members}, err
}

// Measure is one window of a target.
func (b bench) Measure(ctx context.Context, t probe.Target, window time.Duration) (Result, error) {
	if err := b.members.Set(t); err != nil {
		return Result{}, errors.Join(err, b.members.Clear())
	}
	r, err := b.Probe.Measure(ctx, window)
	lost, lostErr := b.members.Lost()
	r.Lost += lost
	return r, errors.Join(err, lostErr, b.members.Clear())
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (bench, error) { return open(DefaultOptions()) })

func loaded(t *testing.T) bench {
	t.Helper()
	rig.Root(t)
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// measure opens one window and asks what every window must give: nothing lost,
// every thread's states add up to its life, every CPU's time is somebody's.
func measure(t *testing.T, target probe.Target, window time.Duration) Result {
	t.Helper()
	return measureWith(t, loaded(t), target, window)
}

func measureWith(t *testing.T, p bench, target probe.Target, window time.Duration) Result {
	t.Helper()
	begin := time.Now()
	r, err := p.Measure(t.Context(), target, window)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("window %v, %v more to attach, read and detach", window, (time.Since(begin) - window).Round(time.Millisecond))
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	for _, th := range r.Threads {
		if sum := total(th.StateNS); !near(sum, ms(th.WallNS), 0.01, 0.01) {
			t.Errorf("thread %d %s: states add up to %.3f of %.3f ms", th.TID, th.Comm, sum, ms(th.WallNS))
		}
		if b := th.Behind; b.OwnNS+b.OthersNS > th.StateNS[runQueue] {
			t.Errorf("thread %d %s: waited %.3f ms, and %.3f + %.3f of them behind somebody", th.TID, th.Comm, ms(th.StateNS[runQueue]), ms(b.OwnNS), ms(b.OthersNS))
		}
	}
	held := ms(r.IdleNS)
	for _, h := range r.Holders {
		held += ms(h.OnCPUNS)
	}
	if want := float64(r.CPUs) * millis(window); !near(held, want, 0.01, 0) {
		t.Errorf("holders and idle add up to %.1f ms, %d CPUs had %.1f", held, r.CPUs, want)
	}
	return r
}

// Indexes of StateNS; TestStates holds them to incident.States.
const (
	onCPU = iota
	runQueue
	throttled
	io_
	reclaim
	kernelLock
	userLock
	sleep
)

type sums struct {
	threads int
	wall    float64 // ms
	state   [NumStates]float64
}

func (s sums) String() string {
	return fmt.Sprintf("%d threads, %.0f ms: on_cpu %.0f, run_queue %.0f, throttled %.0f, io %.0f, reclaim %.0f, kernel_lock %.0f, user_lock %.0f, sleep %.0f",
		s.threads, s.wall, s.state[0], s.state[1], s.state[2], s.state[3], s.state[4], s.state[5], s.state[6], s.state[7])
}

// ledger adds up a result.
func ledger(t *testing.T, r Result) sums {
	t.Helper()
	var s sums
	add := func(n int, wall uint64, state [NumStates]uint64) {
		s.threads += n
		s.wall += ms(wall)
		for i, ns := range state {
			s.state[i] += ms(ns)
		}
	}
	for _, th := range r.Threads {
		add(1, th.WallNS, th.StateNS)
	}
	for _, g := range r.Ended {
		add(g.Threads, g.WallNS, g.StateNS)
	}
	t.Log(s)
	return s
}

func ms(ns uint64) float64           { return float64(ns) / 1e6 }
func millis(d time.Duration) float64 { return float64(d) / 1e6 }
func total(s [NumStates]uint64) (sum float64) {
	for _, ns := range s {
		sum += ms(ns)
	}
	return sum
}

// near: got is within a share of want, or within some milliseconds of it.
func near(got, want, share, millis float64) bool {
	d := max(got-want, want-got)
	return d <= share*want || d <= millis
}
