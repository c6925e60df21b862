package futex

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// bench is the probe and, as the witness of the time waited, the ledger.
type bench struct {
	members *probe.Members
	futex   *Probe
	threads *threads.Probe
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (b bench, err error) {
	if b.members, err = probe.NewMembers(4096); err != nil {
		return b, err
	}
	if b.futex, err = Load(DefaultOptions(), b.members); err != nil {
		return b, err
	}
	b.threads, err = threads.Load(threads.DefaultOptions(), b.members)
	return b, err
})

func loaded(t *testing.T) bench {
	t.Helper()
	rig.Root(t)
	b, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// measure opens a window of both probes side by side.
func measure(t *testing.T, pid int, window time.Duration) (Result, threads.Result) {
	t.Helper()
	b := loaded(t)
	if err := b.members.Set(probe.Target{PIDs: []int{pid}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.members.Clear(); err != nil {
			t.Error(err)
		}
	}()
	var ledger threads.Result
	var ledgerErr error
	var wg sync.WaitGroup
	wg.Go(func() { ledger, ledgerErr = b.threads.Measure(t.Context(), window) })
	begin := time.Now()
	r, err := b.futex.Measure(t.Context(), window)
	t.Logf("window %v, %v more to attach, read and detach", window, (time.Since(begin) - window).Round(time.Millisecond))
	wg.Wait()
	if err := errors.Join(err, ledgerErr); err != nil {
		t.Fatal(err)
	}
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	for i, a := range r.Addresses {
		if i > 5 && a.ByWaiters() == 0 {
			continue
		}
		unwoken := uint64(0)
		for _, th := range a.Threads {
			unwoken += th.Unwoken
		}
		t.Logf("%x of %d: %d threads, %d waits, %d unwoken (same %d of %#x, zero %d, pi %d), wait %v, contended %v, held %v, wakes %d by waiters %d many %d, %d samples",
			a.Address, a.PID, len(a.Threads), a.Waits, unwoken, a.Same, a.Value, a.Zero, a.PI, a.Wait().Round(time.Millisecond), a.Contended.Round(time.Millisecond),
			a.Held().Round(time.Millisecond), a.Wakes, a.ByWaiters(), a.Many, len(a.Samples))
	}
	return r, ledger
}
