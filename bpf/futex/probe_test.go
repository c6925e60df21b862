package futex

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

const window = 1500 * time.Millisecond

// userLock is what the ledger has in futex(2), in ms over all threads.
func userLock(r threads.Result) (sum float64) {
	i := slices.Index(incident.States(), incident.UserLock)
	for _, t := range r.Threads {
		sum += float64(t.StateNS[i]) / 1e6
	}
	return sum
}

// starved reports whether the threads had no CPU for most of the window: who holds
// the lock may then have taken it before, and not be known.
func starved(r threads.Result) bool {
	i := slices.Index(incident.States(), incident.RunQueue)
	var queue uint64
	for _, t := range r.Threads {
		queue += t.StateNS[i]
	}
	return queue > uint64(window)
}

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

// contended is the address with the most wakes by threads that wait there.
func contended(t *testing.T, r Result) Address {
	t.Helper()
	var best Address
	for _, a := range r.Addresses {
		if a.ByWaiters() > best.ByWaiters() {
			best = a
		}
	}
	if best.ByWaiters() == 0 {
		t.Fatal("no address where who waits also wakes")
	}
	return best
}

// checkLock: what a lock looks like, whatever it is made of.
func checkLock(t *testing.T, r Result, ledger threads.Result, count int) Address {
	t.Helper()
	a := contended(t, r)
	if len(a.Threads) != count {
		t.Errorf("%d threads at the lock, there are %d", len(a.Threads), count)
	}
	if a.Same+a.PI < a.Waits*9/10 || a.Many != 0 || a.ByWaiters() < a.Wakes*9/10 {
		t.Errorf("%d waits, %d while the word was the same, %d with inheritance; %d wakes, %d by waiters, %d of many", a.Waits, a.Same, a.PI, a.Wakes, a.ByWaiters(), a.Many)
	}
	// While one waits another has it, and no two have it.
	if held, c := a.Held(), a.Contended; held < c/2 && !starved(ledger) || held > c*3/2 || c > window+time.Millisecond {
		t.Errorf("held for %v of the %v with a waiter", held, c)
	}
	if wait := a.Wait(); wait > time.Duration(count-1)*window*11/10 || millis(wait) > 1.3*userLock(ledger)+50 {
		t.Errorf("%d threads waited %v in %v; the ledger has %.0f ms in futexes", count, wait, window, userLock(ledger))
	}
	var waits, holds int
	for _, s := range a.Samples {
		if s.Stack.PID == 0 || len(s.Stack.User) == 0 || s.Stack.IP == 0 {
			t.Errorf("an empty stack: %d, %d bytes", s.Stack.PID, len(s.Stack.User))
		}
		if s.Holder {
			holds++
		} else {
			waits++
		}
	}
	if waits == 0 || holds == 0 {
		t.Errorf("%d stacks of waiters and %d of holders", waits, holds)
	}
	return a
}

func TestConvoy(t *testing.T) {
	w := rig.Start(t, "-mode", "mutex", "-threads", "4", "-on", "2ms", "-off", "10us")
	r, ledger := measure(t, w.PID, window)
	a := checkLock(t, r, ledger, 4)
	if a.PID != w.PID || a.Value != 2 {
		t.Errorf("the lock is of process %d and waited for while it is %d, want %d and 2", a.PID, a.Value, w.PID)
	}
	for _, th := range a.Threads {
		if th.PID != w.PID || th.Longest > th.Wait || th.Unwoken > th.Waits+1 {
			t.Errorf("thread %+v", th)
		}
	}
}

// What must differ from a lock in what is counted; the verdict on it is
// diagnose/cause's.
func TestNotALock(t *testing.T) {
	for _, c := range []struct {
		mode string
		is   func(Address) string
	}{
		{"queue", func(a Address) string {
			if a.ByWaiters() > a.Wakes/2 {
				return "workers that never wake anybody are wakers"
			}
			return ""
		}},
		{"chain", func(a Address) string { // by address alone its workers are like a lock's threads
			if a.Same > a.Waits/10 {
				return "waits for work are waits for the same word that is not 0"
			}
			return ""
		}},
		{"barrier", func(a Address) string {
			if a.ByWaiters() > a.Wakes/2 && a.Many < a.Wakes*9/10 && a.Same > a.Waits/2 {
				return "a barrier wakes one at a time, and its word stays"
			}
			return ""
		}},
		{"pingpong", func(a Address) string {
			if a.ByWaiters() > a.Wakes/2 {
				return "each waits at its own address and wakes at another"
			}
			return ""
		}},
	} {
		t.Run(c.mode, func(t *testing.T) {
			w := rig.Start(t, "-mode", c.mode, "-threads", "4", "-on", "2ms", "-off", "500us")
			r, _ := measure(t, w.PID, window)
			woken := uint64(0)
			for _, a := range r.Addresses {
				woken += a.Wakes
				// Go's runtime has locks of its own, waited for next to never.
				if a.Wakes < 10 || a.Wait() < window/10 {
					continue
				}
				if why := c.is(a); why != "" {
					t.Errorf("%x: %s: %+v", a.Address, why, a.Threads)
				}
			}
			if woken == 0 {
				t.Error("nobody was woken")
			}
		})
	}
}

// A wait that a timer ends has no waker.
func TestTimeouts(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	var word uint32
	go func() {
		runtime.LockOSThread()
		for {
			select {
			case <-done:
				return
			default:
			}
			ts := unix.NsecToTimespec(int64(5 * time.Millisecond))
			_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), 128, 0, uintptr(unsafe.Pointer(&ts)), 0, 0)
		}
	}()
	r, _ := measure(t, unix.Getpid(), 500*time.Millisecond)
	i := slices.IndexFunc(r.Addresses, func(a Address) bool { return a.Address == uint64(uintptr(unsafe.Pointer(&word))) })
	if i < 0 {
		t.Fatalf("no wait at %p", &word)
	}
	a := r.Addresses[i]
	if th := a.Threads[0]; a.Wakes != 0 || len(a.Threads) != 1 || th.Unwoken == 0 || th.Unwoken > th.Waits+1 || a.Zero != a.Waits {
		t.Errorf("%+v", a)
	}
}

// A thread that waits all along began before the window: it is not seen. One that
// begins inside and does not end counts to the end.
func TestOpenWait(t *testing.T) {
	at := futexAddress{Address: 8, Tgid: 7}
	k := futexPartKey{At: at, Tgid: 7, Tid: 9}
	words := map[futexAddress]futexWord{at: {Since: 500, Contended: 10, Waiting: 1}}
	parts := map[futexPartKey]futexPart{k: {Waits: 1, WaitNs: 5}}
	waiting := map[uint32]futexOpenWait{9: {At: at, Tgid: 7, Since: 500}, 10: {At: at, Tgid: 7, Since: 2000}}
	closeOpen(words, parts, waiting, 700, 1000)
	if got := parts[k]; got.WaitNs != 305 || got.LongestNs != 300 {
		t.Errorf("an open wait from 500 in a window from 700 to 1000 gives %+v", got)
	}
	if got := words[at]; got.Contended != 310 {
		t.Errorf("and its address %+v", got)
	}
	// All that wait now came after the window, and there was always one.
	words[at] = futexWord{Since: 800, Waiting: 1}
	closeOpen(words, parts, map[uint32]futexOpenWait{10: {At: at, Tgid: 7, Since: 2000}}, 700, 1000)
	if got := words[at]; got.Contended != 200 {
		t.Errorf("waited for from 800 to the end of the window and on: %+v", got)
	}
}

func TestFull(t *testing.T) {
	b := loaded(t)
	p, err := Load(Options{MaxWaits: 16, MaxStacks: 16}, b.members)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := rig.Start(t, "-mode", "pingpong", "-threads", "40", "-on", "10us")
	if err := b.members.Set(probe.Target{PIDs: []int{w.PID}}); err != nil {
		t.Fatal(err)
	}
	r, err := p.Measure(t.Context(), time.Second)
	if err := errors.Join(err, b.members.Clear()); err != nil {
		t.Fatal(err)
	}
	if r.Lost == 0 {
		t.Errorf("40 threads at 40 addresses, room for 16, and nothing lost: %d addresses", len(r.Addresses))
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	p := loaded(t).futex
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if _, err := p.Measure(ctx, time.Minute); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	_, err := Load(Options{MaxWaits: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "futex.Options.MaxWaits is 1, allowed are 16 to") {
		t.Errorf("got %v", err)
	}
}
