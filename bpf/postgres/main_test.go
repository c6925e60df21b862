package postgres

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/postgres"
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

// bench is a server in a cgroup, which is the target.
type bench struct {
	*testing.T
	group  *rig.Group
	server *postgres.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	group := rig.NewGroup(t)
	return &bench{t, group, postgres.Start(t, group.Path)}
}

// measure opens a window and runs during in the middle of it.
func (b *bench) measure(window time.Duration, during func()) Result {
	b.Helper()
	l, err := shared()
	if err != nil {
		b.Fatal(err)
	}
	if err := l.members.Set(probe.Target{Cgroups: []string{b.group.Path}}); err != nil {
		b.Fatal(err)
	}
	defer l.members.Clear()
	result := make(chan Result)
	begin := time.Now()
	go func() {
		r, err := l.probe.Measure(b.Context(), "/proc", b.server.PIDs, window)
		if err != nil {
			b.Error(err)
		}
		result <- r
	}()
	if during != nil {
		time.Sleep(window / 4)
		during()
	}
	r := <-result
	b.Logf("window %v, %v more; %d backends, %d samples", window, (time.Since(begin) - window).Round(time.Millisecond), r.Backends, r.Samples)
	for _, w := range r.Waits {
		b.Logf("  %d waits %d times %.1f ms (longest %.1f, ran %.2f, sampled %.0f, open %v, before %v) for %s %s, %s; holder %+v root %+v",
			w.PID, w.Count, ms(w.NS), ms(w.Longest), ms(w.RanNS), ms(w.SampledNS), w.Open, w.Before, w.Lock.TypeName(), w.Lock.ModeName(), w.Lock.Object(), w.Holder, w.Root)
	}
	if r.Lost != 0 || r.Unprobed != "" || r.Unread != "" {
		b.Errorf("lost %d, unprobed %q, unread %q", r.Lost, r.Unprobed, r.Unread)
	}
	return r
}

func ms(ns uint64) float64 { return float64(ns) / 1e6 }
