package locks

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

// bench is the probe and, as the witness of the time slept, the ledger.
type bench struct {
	members *probe.Members
	locks   *Probe
	threads *threads.Probe
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (b bench, err error) {
	if b.members, err = probe.NewMembers(4096); err != nil {
		return b, err
	}
	if b.locks, err = Load(DefaultOptions(), b.members); err != nil {
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
func measure(t *testing.T, pids []int, window time.Duration) (Result, threads.Result) {
	t.Helper()
	b := loaded(t)
	if err := b.members.Set(probe.Target{PIDs: pids}); err != nil {
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
	r, err := b.locks.Measure(t.Context(), window)
	t.Logf("window %v, %v more to attach, read and detach", window, (time.Since(begin) - window).Round(time.Millisecond))
	wg.Wait()
	if err := errors.Join(err, ledgerErr); err != nil {
		t.Fatal(err)
	}
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	for _, w := range r.Waits[:min(6, len(r.Waits))] {
		t.Logf("%v %s writer=%v %x: %d times, spin %v, sleep %v, longest %v, %d frames, holders %v", w.Known, w.Kind, w.Writer, w.Address, w.Count, w.Spin, w.Sleep, w.Longest, len(w.Stack), w.Holders[:min(2, len(w.Holders))])
	}
	return r, ledger
}
