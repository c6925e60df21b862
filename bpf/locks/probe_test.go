package locks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/rig"
)

const window = 1500 * time.Millisecond

// of is a state of the ledger, in ms over all threads.
func of(r threads.Result, s incident.State) (sum float64) {
	i := slices.Index(incident.States(), s)
	for _, t := range r.Threads {
		sum += float64(t.StateNS[i]) / 1e6
	}
	for _, g := range r.Ended {
		sum += float64(g.StateNS[i]) / 1e6
	}
	return sum
}

func slept(r Result) (ms float64) {
	for _, w := range r.Waits {
		ms += float64(w.Sleep) / 1e6
	}
	return ms
}

// top is the lock that was waited for longest, spin locks aside: on a machine
// without free CPUs the scheduler's may come first.
func top(t *testing.T, r Result) Wait {
	t.Helper()
	for _, w := range r.Waits {
		if w.Kind != Spinlock {
			return w
		}
	}
	t.Fatal("no contention")
	return Wait{}
}

// The time slept for locks is also in the ledger, which knows nothing of what the
// lock is and ends a wait when the thread is woken, not when it runs again.
func TestSleepAgreesWithTheLedger(t *testing.T) {
	for _, c := range []struct {
		mode  string
		known Known
		kind  Kind
	}{
		{"mmap", MmapLock, RWSem},
		{"write", Other, RWSem},
		{"dir", Other, RWSem},
		{"pipe", Other, Mutex},
	} {
		t.Run(c.mode, func(t *testing.T) {
			w := rig.Start(t, "-mode", c.mode, "-threads", "4", "-dir", t.TempDir())
			r, ledger := measure(t, []int{w.PID}, window)
			got, low := slept(r), of(ledger, incident.KernelLock)
			high := low + of(ledger, incident.RunQueue) + of(ledger, incident.IO)
			t.Logf("slept %.0f ms; the ledger has %.0f on kernel locks and up to %.0f with the waits for a CPU", got, low, high)
			// The two windows do not open at the same moment.
			if got < 0.6*low-30 || got > 1.4*high+30 {
				t.Errorf("slept %.1f ms for locks, the ledger has %.1f to %.1f", got, low, high)
			}
			first := top(t, r)
			if first.Known != c.known || first.Kind != c.kind || len(first.Stack) == 0 {
				t.Errorf("waited most for %v %s, want %v %s", first.Known, first.Kind, c.known, c.kind)
			}
			if first.Longest <= 0 || first.Longest > window || first.Longest > first.Spin+first.Sleep {
				t.Errorf("longest wait is %v of %v", first.Longest, first.Spin+first.Sleep)
			}
			if c.kind == Mutex && first.Spin == 0 {
				t.Error("nobody spun for a mutex")
			}
			checkHolders(t, w.PID, r, c.known == Other)
		})
	}
}

// Only threads of the workload hold its locks. A reader of an rwsem is not known.
func checkHolders(t *testing.T, pid int, r Result, always bool) {
	var waited, known time.Duration
	for _, w := range r.Waits {
		if w.Kind != Mutex && (w.Kind != RWSem || !w.Writer) || w.Known == Other != always {
			continue
		}
		waited += w.Spin + w.Sleep
		for _, h := range w.Holders {
			if h.PID == pid {
				known += h.Wait
			}
		}
	}
	t.Logf("holders are known for %v of %v", known.Round(time.Millisecond), waited.Round(time.Millisecond))
	if known > waited || always && known < waited/2 {
		t.Errorf("holders of the workload are known for %v of %v", known, waited)
	}
}

// A futex convoy is not a kernel lock: nobody sleeps for one.
func TestUserLockIsNotAKernelLock(t *testing.T) {
	w := rig.Start(t, "-mode", "mutex", "-threads", "4", "-on", "2ms", "-off", "10us")
	r, ledger := measure(t, []int{w.PID}, window)
	if got, user := slept(r), of(ledger, incident.UserLock); got > 0.05*user || user == 0 {
		t.Errorf("slept %.1f ms for kernel locks and %.1f for user locks", got, user)
	}
}

// Others' contention does not count.
func TestOnlyTheTarget(t *testing.T) {
	rig.Start(t, "-mode", "write", "-threads", "4")
	quiet := rig.Start(t, "-mode", "sleep", "-threads", "2")
	r, _ := measure(t, []int{quiet.PID}, 500*time.Millisecond)
	if got := slept(r); got > 5 {
		t.Errorf("sleeping threads slept %.1f ms for locks", got)
	}
}

// A wait that goes on at the end of the window counts up to there.
func TestOpenWait(t *testing.T) {
	p := loaded(t).locks
	if err := p.reset(); err != nil {
		t.Fatal(err)
	}
	o := locksOpenWaits{Depth: 2}
	o.Pile[0].Since, o.Pile[0].Class.Known = 500, uint32(MmapLock)
	o.Pile[0].Class.Stack = -1
	o.Pile[1].Since, o.Pile[1].Spins = 900, 1
	if err := p.objs.Waiting.Put(uint32(1), o); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := p.read(&r, 700, 1000); err != nil {
		t.Fatal(err)
	}
	if len(r.Waits) != 1 || r.Waits[0].Sleep != 300 || r.Waits[0].Longest != 300 || r.Waits[0].Count != 1 || r.NoStack != 1 {
		t.Errorf("an open wait from 500 in a window from 700 to 1000 gives %+v", r)
	}
}

// Tables that are too small lose, and say so.
func TestFull(t *testing.T) {
	b := loaded(t)
	p, err := Load(Options{MaxClasses: 16, MaxWaiting: 16, MaxHolders: 16}, b.members)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range uint32(16) { // nobody's: thread ids end at 1<<22
		if err := p.objs.Waiting.Put(1<<30+i, locksOpenWaits{}); err != nil {
			t.Fatal(err)
		}
	}
	w := rig.Start(t, "-mode", "write", "-threads", "4")
	if err := b.members.Set(probe.Target{PIDs: []int{w.PID}}); err != nil {
		t.Fatal(err)
	}
	defer b.members.Clear()
	ls, err := probe.Attach(p.objs.OnContentionBegin, p.objs.OnContentionEnd)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := ls.Close(); err != nil {
		t.Fatal(err)
	}
	var lost uint64
	if err := p.objs.Lost.Get(&lost); err != nil || lost == 0 {
		t.Errorf("lost %d, %v", lost, err)
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	p := loaded(t).locks
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if _, err := p.Measure(ctx, time.Minute); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	_, err := Load(Options{MaxClasses: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "locks.Options.MaxClasses is 1, allowed are 16 to") {
		t.Errorf("got %v", err)
	}
	if _, err := (&Probe{}).Measure(t.Context(), 0); err == nil {
		t.Error("a window of 0 is allowed")
	}
}
