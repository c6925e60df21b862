// Package futex is the probe of user locks: which threads of the target wait in
// futex(2) for which address, who wakes them, and how long an address was held
// while others waited for it.
//
// It counts; whether an address is a lock, a queue or a parked thread is for
// diagnose/cause to say. Nothing is attached to the kernel outside a window.
//
// What it does not see: waits that began before the probe was attached, until the
// thread waits again; locks that do not wait in futex(2), such as Go's sync.Mutex,
// which parks goroutines and not threads; and, as one lock, locks that park each
// thread at an address of its own (PostgreSQL's LWLocks; Java's, which
// diagnose/agent/hotspot asks the virtual machine about).
package futex

import (
	"time"

	"github.com/kmend/kmend/bpf/stack"
)

// Address is one futex word that threads of the target waited for.
type Address struct {
	Address uint64
	PID     int // of its process; 0: shared between processes, which then have it at the same address

	Waits uint64 // that began in the window
	// Same, Zero and PI are the waits for the word to change from Value, which is
	// not 0 and was that of the first wait; from 0; and by FUTEX_LOCK_PI.
	Same, Zero, PI uint64
	Value          uint32
	Contended      time.Duration // the time with at least one waiter
	Wakes          uint64        // threads woken at this address
	Many           uint64        // of them by calls that may wake more than one

	Threads []Thread // those that waited or woke, longest wait first
	Samples []Sample // where in the code, of some waits and wakes; longest first
}

// Thread is what one thread did at an address.
type Thread struct {
	PID, TID int    // in the initial pid namespace
	Comm     string // as the thread named itself: untrusted
	Waits    uint64
	Wait     time.Duration
	Longest  time.Duration
	Unwoken  uint64 // waits that ended by a timer, a signal or an exit
	Wakes    uint64 // threads that it woke
	// Held is the time with a waiter from when the thread was woken (or woke the
	// one before, and may have taken the lock again) until it woke the next one,
	// Helds how often that was.
	Held        time.Duration
	Helds       uint64
	LongestHeld time.Duration
}

// Sample is where in the code a thread began to wait, or woke a waiter.
type Sample struct {
	Stack  stack.Stack
	Holder bool          // it woke, and held for For; else it waited for For
	For    time.Duration // 0: the wait went on at the end of the window
}

// Wait is the time waited at the address, summed over threads.
func (a Address) Wait() (sum time.Duration) {
	for _, t := range a.Threads {
		sum += t.Wait
	}
	return sum
}

// Held is the time with a waiter in which a thread held the address that had
// waited for it or woken from it before, summed over threads.
func (a Address) Held() (sum time.Duration) {
	for _, t := range a.Threads {
		if t.Waits > 0 {
			sum += t.Held
		}
	}
	return sum
}

// ByWaiters counts the wakes by threads that waited at the address themselves.
func (a Address) ByWaiters() (n uint64) {
	for _, t := range a.Threads {
		if t.Waits > 0 {
			n += t.Wakes
		}
	}
	return n
}

// Result is one measured window.
type Result struct {
	Window    time.Duration
	Addresses []Address // longest wait first
	Lost      uint64    // waits and wakes that could not be recorded
	NoStack   uint64    // stacks for which there was no room
}
