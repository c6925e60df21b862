package hotspot

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/test/jvm"
	"github.com/kmend/kmend/test/rig"
)

const window = 1500 * time.Millisecond

func watch(t *testing.T, pid int) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), window)
	defer cancel()
	before := cpu()
	r := Watch(ctx, "/proc", []int{os.Getpid(), pid})
	t.Logf("watched %v, %d looks, %v of CPU time; %s", r.Watched.Round(time.Millisecond), r.Looks, cpu()-before, r.Blind)
	for _, l := range r.Locks {
		t.Logf("%+v", l)
	}
	return r
}

// Four threads at one lock: three wait for it and one has it, all the time.
func TestLocks(t *testing.T) {
	rig.Root(t)
	for _, c := range []struct{ mode, class string }{
		{"monitor", "java.lang.Object"},
		{"reentrant", "java.util.concurrent.locks.ReentrantLock"},
		{"fair", "java.util.concurrent.locks.ReentrantLock"},
		{"write", "java.util.concurrent.locks.ReentrantReadWriteLock"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			m := jvm.Start(t, []string{"-XX:+UseSerialGC", "-Xmx64m"}, c.mode, 4, 0)
			r := watch(t, m.PID)
			if len(r.Locks) == 0 || r.Looks < 10 || r.Blind != "" {
				t.Fatalf("%+v", r)
			}
			l := r.Locks[0]
			if l.PID != m.PID || l.Class != c.class || l.Monitor != (c.mode == "monitor") || len(l.Waiters) != 4 {
				t.Errorf("%+v", l)
			}
			if l.Wait < 3*r.Watched/2 || l.Wait > 4*r.Watched || l.Contended < r.Watched*3/4 || l.Contended > r.Watched {
				t.Errorf("waited for %v, contended for %v of %v", l.Wait, l.Contended, r.Watched)
			}
			var held time.Duration
			for _, d := range l.Holders {
				held += d
			}
			if held < l.Contended/2 || held > l.Contended {
				t.Errorf("held for %v", held)
			}
		})
	}
}

// Three wait all the time for one that keeps it, and had it before anybody waited.
func TestLockThatStays(t *testing.T) {
	rig.Root(t)
	m := jvm.Start(t, []string{"-XX:+UseSerialGC", "-Xmx64m"}, "stuck", 4, 0)
	r := watch(t, m.PID)
	if len(r.Locks) != 1 || len(r.Locks[0].Waiters) != 3 || r.Locks[0].Wait < 2*r.Watched {
		t.Fatalf("%+v", r)
	}
	code, err := library("/proc", m.PID)
	if err != nil {
		t.Fatal(err)
	}
	// JDK 17 has its place in the holder's stack, later ones have it nowhere.
	if holders := len(r.Locks[0].Holders); holders > 1 || holders == 0 && strings.Contains(code.Path, "17") {
		t.Errorf("%d holders", holders)
	}
}

// Hand-offs of work wait for no lock, though one thread works at a time and wakes the
// next: only the virtual machine knows.
func TestNotALock(t *testing.T) {
	rig.Root(t)
	for _, mode := range []string{"queue", "futures", "handover", "notify", "condition", "idle", "compute"} {
		t.Run(mode, func(t *testing.T) {
			m := jvm.Start(t, []string{"-XX:+UseSerialGC", "-Xmx64m"}, mode, 4, 0)
			r := watch(t, m.PID)
			var wait time.Duration
			for _, l := range r.Locks {
				wait += l.Wait
			}
			if r.Looks < 10 || r.Blind != "" || wait > window/10 {
				t.Errorf("%d looks, %q, waited for %v", r.Looks, r.Blind, wait)
			}
		})
	}
}
