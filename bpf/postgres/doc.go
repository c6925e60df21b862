// Package postgres is the probe of PostgreSQL's heavyweight locks: which backend
// waits for which lock, for how long, and which backend holds it.
//
// It is of the node side, beside bpf/threads: diagnose/agent opens one window for
// both. Two witnesses that know nothing of each other see the same waits: the
// server's static tracepoints lock__wait__start and lock__wait__done, timed in
// the kernel, and the server's shared memory, read ten times a second, which
// also says who holds the lock. There is no SQL, and no table of the layouts of
// PostgreSQL's versions: what has to be known of a layout is found by what must
// be true of it (layout.go).
//
// Limits: lightweight locks, spinlocks and buffer pins are not heavyweight locks. A
// server that was built without --enable-dtrace is measured by its memory alone,
// to 100 ms (Result.Unprobed). The holder of a prepared transaction's lock has no
// process. Relation locks of the fast path (weak ones) are not in the shared
// table until somebody waits for them; then the server moves them there.
package postgres

import "time"

// Lock is what a backend waits for, as in PostgreSQL's pg_locks.
type Lock struct {
	Type     uint8 // LockTagType of src/include/storage/lock.h, see TypeName
	Mode     uint8 // 1 to 8, see ModeName
	Field1   uint32
	Field2   uint32
	Field3   uint32
	Field4   uint16
	Database uint32 // OID, of types that have one
	Relation uint32 // OID, of types that have one
}

// Holder is a backend that makes another wait.
type Holder struct {
	PID int // 0: not known; PID is 0 and Prepared set for a prepared transaction
	// Prepared: the lock is held by a transaction that waits for COMMIT PREPARED.
	Prepared bool
	// Queued: it does not hold the lock, it waits for it in front.
	Queued bool
	// Doing is what it does as its process title has it: "idle in transaction",
	// "UPDATE", "SELECT waiting"; or whether it runs or sleeps. Untrusted.
	Doing string
}

// Wait sums the waits of one backend for one type of lock in one mode.
type Wait struct {
	PID     int // of the backend, in the initial pid namespace
	Lock    Lock
	Count   int
	NS      uint64 // inside the window
	Longest uint64 // ns
	RanNS   uint64 // CPU time of the backend during these waits, as the kernel billed it
	Open    bool   // the last one still is at the end of the window
	Before  bool   // the first one began before the window
	// SampledNS is the same time as the server's memory has it, to 100 ms; it
	// counts for all waits of the backend.
	SampledNS uint64
	Holder    Holder // of the last wait that was looked at
	Root      Holder // who holds the lock at the end of the chain: the holder itself, unless that waits too
}

// Result is one measured window.
type Result struct {
	Start    time.Time
	Window   time.Duration
	Servers  int    // programs (not clusters) that the target's backends run
	Backends int    // processes of the target that run PostgreSQL
	Waits    []Wait // longest first
	Lost     uint64 // waits that could not be recorded
	Samples  int    // how often the memory was read
	// Unprobed: why the server's tracepoints could not be used; then NS is sampled.
	Unprobed string
	// Unread: why the server's memory could not be used; then no holder is known.
	Unread string
}
