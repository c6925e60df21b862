package hotspot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxMachines = 32   // of one target; more are not looked at
	maxLocks    = 4096 // of one target; locks are objects, and objects move

	pace = 25 * time.Millisecond  // between looks on average, and
	rest = 30                     // times as long as a look takes, but
	most = 150 * time.Millisecond // no longer: a few looks prove nothing
)

// Lock is a lock of Java that threads waited for.
type Lock struct {
	PID     int    // of its machine
	Address uint64 // of the monitor, or of the object; those that are moved are several
	Class   string // of the object: untrusted; of a monitor's empty where it is not known
	Monitor bool   // else one of java.util.concurrent.locks

	Wait      time.Duration         // summed over threads
	Contended time.Duration         // with at least one waiter
	Seen      int                   // looks with a waiter
	Waiters   map[int]time.Duration // how long each waited, by thread id in the initial pid namespace
	Holders   map[int]time.Duration // of the contended time, where it is known who
}

// Result is what was seen until the end of ctx.
type Result struct {
	Watched time.Duration
	Looks   int
	Locks   []Lock // longest wait first
	Blind   string // why a machine was not looked at, or is not known in full
}

// Watch looks at the virtual machines among the processes until ctx ends.
func Watch(ctx context.Context, proc string, pids []int) (r Result) {
	defer func() {
		if p := recover(); p != nil { // what is read is the target's
			r = Result{Blind: fmt.Sprintf("it panicked: %v", p)}
		}
	}()
	ms, blind := find(proc, pids)
	r.Blind = blind
	if len(ms) == 0 {
		return r
	}
	defer func() {
		for _, m := range ms {
			m.memory.f.Close()
		}
	}()
	locks := map[key]*Lock{}
	last := time.Now()
	begin := last
	for timer := time.NewTimer(0); ; {
		select {
		case <-ctx.Done():
			for _, l := range locks {
				r.Locks = append(r.Locks, *l)
			}
			slices.SortFunc(r.Locks, func(a, b Lock) int {
				return cmp.Or(cmp.Compare(b.Wait, a.Wait), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Address, b.Address))
			})
			r.Watched = last.Sub(begin)
			return r
		case <-timer.C:
		}
		now := time.Now()
		for _, m := range ms {
			m.look(locks, now.Sub(last))
		}
		r.Looks++
		// Not in step with what the program does.
		between := min(max(pace, rest*time.Since(now)), most)
		timer.Reset(between/2 + rand.N(between)) //nolint:gosec // no secret
		last = now
	}
}

func find(proc string, pids []int) (ms []*machine, blind string) {
	for _, pid := range pids {
		code, err := library(proc, pid)
		if err != nil || code.Start == 0 {
			continue
		}
		if len(ms) == maxMachines {
			return ms, fmt.Sprintf("there are more than %d Java virtual machines", maxMachines)
		}
		m := &machine{pid: pid, dir: filepath.Join(proc, strconv.Itoa(pid)), names: map[uint64]string{}, tids: map[int]int{}}
		file, err := code.Open(proc, pid)
		if err == nil {
			if m.memory, err = openMemory(proc, pid); err == nil {
				if m.layout, err = readLayout(m.memory, file, code); err != nil {
					m.memory.f.Close()
				}
			}
			file.Close()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH): // it has ended
		case err != nil:
			blind = fmt.Sprintf("Java virtual machine %d: %v", pid, err)
		default:
			if !m.layout.classes || m.layout.blocker == 0 {
				blind = fmt.Sprintf("Java virtual machine %d: how its objects look is not known: locks of java.util.concurrent have no names", pid)
			}
			ms = append(ms, m)
		}
	}
	return ms, blind
}

type key struct {
	pid     int
	address uint64
}

// look adds what each thread waits for now, as if it had for all the time since the
// last look.
func (m *machine) look(locks map[key]*Lock, since time.Duration) {
	m.listed = false
	threads := m.threads()
	now := map[*Lock]bool{}
	for i, w := range m.waits(threads) {
		if w.Address == 0 {
			continue
		}
		tid, ok := m.sleeps(threads[i].system)
		if !ok {
			continue
		}
		lock := locks[key{m.pid, w.Address}]
		if lock == nil {
			if len(locks) == maxLocks {
				continue
			}
			w.PID, w.Waiters, w.Holders = m.pid, map[int]time.Duration{}, map[int]time.Duration{}
			lock = &w
			locks[key{m.pid, w.Address}] = lock
		}
		lock.Wait += since
		lock.Waiters[tid] += since
		now[lock] = true
	}
	if len(now) == 0 {
		return
	}
	ownerOf := m.owners(threads)
	for lock := range now {
		lock.Seen++
		lock.Contended += since
		if tid, ok := m.holder(lock, ownerOf); ok {
			lock.Holders[tid] += since
		}
	}
}
