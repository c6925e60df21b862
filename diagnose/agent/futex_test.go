package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/futex"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/test/workload/c"
)

// A lock inside a library has the library's name in the stacks of who waits and of
// who holds, and the program's function below it.
func TestUserLocksHaveNames(t *testing.T) {
	program := c.BuildLocks(t)
	for _, x := range []struct{ mode, library, function string }{
		{"mutex", "pthread_mutex_lock (libc", "update_account (locks)"},
		{"sqlite", "(libsqlite3.so.0", "run_query (locks)"},
	} {
		t.Run(x.mode, func(t *testing.T) {
			pid := program.Start(t, x.mode, 4, 2*time.Millisecond, 0)
			r, err := instrumentOf(t, "futex", pid).Measure(t.Context(), subject{proc: "/proc"}, 1500*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			wait, waiter, holder := most(r.evidence, "lock_wait"), most(r.evidence, "lock_waiter"), most(r.evidence, "lock_holder")
			if !strings.HasPrefix(wait.Subject, "0x") || !strings.Contains(wait.Subject, " of locks (") || wait.Value <= 0 {
				t.Errorf("the lock is %q, %v ms", wait.Subject, wait.Value)
			}
			all := strings.Join(waiter.Stack, "\n")
			if !strings.Contains(all, x.library) || !strings.Contains(all, x.function) {
				t.Errorf("waits in %q", waiter.Stack)
			}
			if !strings.Contains(strings.Join(holder.Stack, "\n"), x.function) {
				t.Errorf("held in %q", holder.Stack)
			}
		})
	}
}

// Who only waits, or only wakes, makes no evidence.
func TestCandidates(t *testing.T) {
	lock := futex.Address{Address: 1, Wakes: 10, Threads: []futex.Thread{{Waits: 5, Wakes: 5}, {Waits: 5, Wakes: 5}}}
	queue := futex.Address{Address: 2, Wakes: 10, Threads: []futex.Thread{{Waits: 10}, {Wakes: 9}, {Waits: 1, Wakes: 1}}}
	idle := futex.Address{Address: 3, Threads: []futex.Thread{{Waits: 10}}}
	got := candidates([]futex.Address{idle, queue, lock})
	if len(got) != 1 || got[0].Address != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestPlaces(t *testing.T) {
	stackOf := func(functions ...string) symbols.Stack {
		var s symbols.Stack
		for _, f := range functions {
			s.User = append(s.User, symbols.Frame{Func: f, Module: "a"})
		}
		return s
	}
	samples := []futex.Sample{{For: 5}, {For: 3}, {For: 4, Holder: true}, {For: 3}, {For: 9}}
	named := []symbols.Stack{stackOf("one"), stackOf("two"), stackOf("give"), stackOf("two"), {}}
	waits, holds := places(samples, named, false), places(samples, named, true)
	if len(waits) != 2 || waits[0].stack[0] != "two (a)" || waits[0].time != 6 || len(holds) != 1 || holds[0].time != 4 {
		t.Errorf("waiters %v, holders %v", waits, holds)
	}
}
