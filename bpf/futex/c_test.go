package futex

import (
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"github.com/kmend/kmend/test/workload/c"
)

// The C library's locks, and those of a library that uses them.
func TestLocksOfC(t *testing.T) {
	rig.Root(t)
	program := c.BuildLocks(t)
	for _, mode := range []string{"mutex", "sleeper", "pi", "sqlite"} {
		t.Run(mode, func(t *testing.T) {
			pid := program.Start(t, mode, 4, 2*time.Millisecond, 0)
			r, ledger := measure(t, pid, window)
			a := checkLock(t, r, ledger, 4)
			if a.PID != pid || (a.PI > 0) != (mode == "pi") {
				t.Errorf("process %d, %d waits with inheritance", a.PID, a.PI)
			}
		})
	}
}

// A lock between processes is one lock.
func TestLockBetweenProcesses(t *testing.T) {
	b := loaded(t)
	g := rig.NewGroup(t)
	pid := c.BuildLocks(t).StartIn(t, g.Path, "processes", 3, 2*time.Millisecond, 0)
	if err := b.members.Set(probe.Target{Cgroups: []string{g.Path}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.members.Clear(); err != nil {
			t.Error(err)
		}
	}()
	r, err := b.futex.Measure(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	a := contended(t, r)
	pids := map[int]bool{}
	for _, th := range a.Threads {
		pids[th.PID] = true
	}
	if a.PID != 0 || len(pids) != 3 || pids[pid] || a.Same < a.Waits*9/10 || a.ByWaiters() < a.Wakes*9/10 {
		t.Errorf("%+v", a)
	}
}

// The C library's condition variables, semaphores and barriers have a word that
// changes or is 0.
func TestNotALockOfC(t *testing.T) {
	rig.Root(t)
	program := c.BuildLocks(t)
	for _, mode := range []string{"queue", "chain", "sem", "barrier", "idle"} {
		t.Run(mode, func(t *testing.T) {
			pid := program.Start(t, mode, 4, 2*time.Millisecond, time.Millisecond)
			r, _ := measure(t, pid, window)
			for _, a := range r.Addresses {
				// The queue's own mutex is a lock, waited for next to never.
				if a.Same > a.Waits/2 && a.ByWaiters() > a.Wakes/2 && a.Many < a.Wakes/2 && a.Wait() > window/4 {
					t.Errorf("%x looks like a lock: %d waits of %v, %d the same; %d wakes", a.Address, a.Waits, a.Wait(), a.Same, a.Wakes)
				}
			}
		})
	}
}
