// Package locks is the probe of contended kernel locks: which locks the target's
// threads waited for, how long on and off the CPU, from where in the kernel, and
// who held them.
//
// It says addresses and stacks; diagnose/agent gives them the names people know.
// Nothing is attached to the kernel outside a window.
package locks

import "time"

// Known is a lock that is recognised by its address, as one of the waiting
// thread's own objects.
type Known uint32

// The order is that of enum known in locks.bpf.c.
const (
	Other Known = iota
	MmapLock
	PageTableLock
	Siglock
	FileLock
	PiLock
	CredGuardMutex
	ExecUpdateLock
)

// String is the lock's name in the kernel's source; empty for Other.
func (k Known) String() string {
	names := [...]string{"", "mmap_lock", "page_table_lock", "siglock", "file_lock", "pi_lock", "cred_guard_mutex", "exec_update_lock"}
	if int(k) >= len(names) {
		return ""
	}
	return names[k]
}

// Kind is what sort of lock it is, as contention_begin tells it.
type Kind string

// Kinds of locks. On a PREEMPT_RT kernel spin and rw locks are rt_mutexes.
const (
	Spinlock  Kind = "spinlock"
	RWLock    Kind = "rwlock"
	Mutex     Kind = "mutex"
	RWSem     Kind = "rwsem"
	PercpuSem Kind = "percpu-rwsem"
	RTMutex   Kind = "rt-mutex"
	Semaphore Kind = "semaphore"
)

// Wait sums the waits for one lock (or, for a lock inside an object, for all locks
// that are waited for from one place in the kernel). Waits that were open when
// the probe was attached are not seen.
type Wait struct {
	Known   Known
	Address uint64   // when it is a variable of the kernel's image; else 0
	Stack   []uint64 // where it was waited for, in the kernel, innermost first; may be empty
	Kind    Kind
	Writer  bool // of RWLock, RWSem and PercpuSem: it wanted the lock for itself

	Count   uint64
	Spin    time.Duration // waited on the CPU, summed over threads
	Sleep   time.Duration // waited off the CPU, until the thread ran again
	Longest time.Duration
	Holders []Holder // who held it when a wait began, by time waited for them; not known of every kind
}

// Holder is a thread that others waited for.
type Holder struct {
	PID, TID int    // in the initial pid namespace
	Comm     string // as the thread named itself: untrusted
	Count    uint64
	Wait     time.Duration
}

// Result is one measured window.
type Result struct {
	Window time.Duration
	Waits  []Wait // longest total first
	Lost   uint64 // waits that could not be recorded
	// NoStack counts the waits whose stack was not kept, and NoHolder those whose
	// holder was not: they are in Waits, with less known of them.
	NoStack, NoHolder uint64
}
