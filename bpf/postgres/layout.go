package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// layout is what has to be known of a PostgreSQL's structs, found out from its
// memory. The structs themselves, of src/include/storage:
//
//	proc.h  struct PGPROC   { ...; int pid; ...; LOCK *waitLock; PROCLOCK *waitProcLock; LOCKMODE waitLockMode; ... }
//	lock.h  struct LOCK     { LOCKTAG tag (16 bytes); int grantMask; int waitMask; list procLocks; ... }
//	        struct PROCLOCK { LOCK *myLock; PGPROC *myProc; PGPROC *groupLeader; int holdMask; int releaseMask; list lockLink; ... }
//
// A list is {prev, next}: SHM_QUEUE up to 15, dlist since 16. What is before pid
// and waitLock in PGPROC differs from version to version, the rest has been the
// same since 9.6.
type layout struct {
	pid      int // offset in PGPROC; -1: not known yet
	waitLock int // offset in PGPROC; -1: not known yet
	pids     []int
}

// procSize is how much of a PGPROC is read: 15's has 880 bytes.
const procSize = 1024

// maxHolders bounds the list of those who hold or wait for one lock.
const maxHolders = 4096

// learnPID narrows the offset of pid down: where each backend has its own.
func (l *layout) learnPID(proc []byte, pid int) {
	var at []int
	for o := 0; o+4 <= len(proc); o += 4 {
		if int(binary.LittleEndian.Uint32(proc[o:])) == pid && (l.pids == nil || slices.Contains(l.pids, o)) {
			at = append(at, o)
		}
	}
	if l.pids == nil {
		l.pids = at // what one backend has could be there by chance
		return
	}
	if l.pids = at; len(at) > 0 {
		l.pid = at[0]
	}
}

// waiting reads what a backend waits for; ok is false where it does not wait. An
// error says that its memory cannot be read.
func (l *layout) waiting(b *backend) (w waiter, ok bool, err error) {
	if b.myProc == 0 {
		return w, false, errors.New("the program does not export MyProc")
	}
	proc, err := b.memory.pointer(b.myProc)
	if err != nil || proc == 0 { // a process that has none: the postmaster, the logger
		return w, false, err
	}
	if l.waitLock >= 0 {
		pair, err := b.memory.exactly(proc+uint64(l.waitLock), 20)
		if err != nil {
			return w, false, err
		}
		w, ok = b.pair(proc, pair)
		return w, ok, nil
	}
	pgproc, err := b.memory.bytes(proc, procSize)
	if err != nil {
		return w, false, err
	}
	for o := 0; o+20 <= len(pgproc); o += 8 {
		if w, ok = b.pair(proc, pgproc[o:]); ok {
			l.waitLock = o
			return w, true, nil
		}
	}
	return w, false, nil
}

// waiter is a wait as a backend's memory has it.
type waiter struct {
	proc, lock uint64 // addresses of the PGPROC and the LOCK
	group      uint64 // address of the PGPROC that leads its parallel group: its own where there is none
	mode       uint8
	tag        postgresTag
}

// pair reports whether b, 20 bytes of a PGPROC, are waitLock, waitProcLock and
// waitLockMode: the PROCLOCK leads back to both, and the LOCK is one.
func (b *backend) pair(proc uint64, p []byte) (w waiter, ok bool) {
	lock, procLock := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	mode := binary.LittleEndian.Uint32(p[16:])
	if lock == 0 || procLock == 0 || lock%8 != 0 || procLock%8 != 0 || mode < 1 || mode > 8 {
		return w, false
	}
	back, err := b.memory.exactly(procLock, 24)
	if err != nil || binary.LittleEndian.Uint64(back) != lock || binary.LittleEndian.Uint64(back[8:]) != proc {
		return w, false
	}
	l, err := b.memory.exactly(lock, 24)
	if err != nil || l[14] > lastType || l[15] < 1 || l[15] > 2 || binary.LittleEndian.Uint32(l[20:])&(1<<mode) == 0 {
		return w, false
	}
	w = waiter{proc: proc, lock: lock, group: binary.LittleEndian.Uint64(back[16:]), mode: uint8(mode)}
	_, err = binary.Decode(l[:16], binary.LittleEndian, &w.tag)
	return w, err == nil
}

// blocker is who stands in a waiter's way.
type blocker struct {
	proc   uint64 // address of the PGPROC
	pid    int    // inside the server's namespace; 0: a prepared transaction, -1: not known
	queued bool   // it waits too, in front
}

// blocker finds somebody who holds the waiter's lock in a mode that conflicts,
// or else somebody who waits for such a mode. Members of its own parallel group
// are in nobody's way.
func (l *layout) blocker(b *backend, w waiter) (blocker, error) {
	head := w.lock + 24
	at, err := b.memory.pointer(head + 8)
	var queued *blocker
	for n := 0; err == nil && at != head; n++ {
		if n == maxHolders {
			return blocker{}, fmt.Errorf("the list of the lock's holders is longer than %d", maxHolders)
		}
		var p []byte
		if p, err = b.memory.exactly(at-32, 48); err != nil {
			break
		}
		word := func(o int) uint64 { return binary.LittleEndian.Uint64(p[o:]) }
		if word(0) != w.lock {
			return blocker{}, errors.New("the list of the lock's holders changed while it was read")
		}
		proc, leader, held := word(8), word(16), binary.LittleEndian.Uint32(p[24:])
		switch {
		case proc == w.proc, leader == w.group:
		case held&conflicts[w.mode] != 0:
			return l.named(b, blocker{proc: proc}), nil
		case queued == nil && l.waitsFor(b, proc, w):
			queued = &blocker{proc: proc, queued: true}
		}
		at = word(40)
	}
	if err != nil {
		return blocker{}, fmt.Errorf("reading the lock's holders: %w", err)
	}
	if queued != nil {
		return l.named(b, *queued), nil
	}
	return blocker{}, errors.New("nobody holds the lock any more")
}

// waitsFor reports whether another waits for the same lock in a mode that the
// waiter has to let pass.
func (l *layout) waitsFor(b *backend, proc uint64, w waiter) bool {
	if l.waitLock < 0 {
		return false
	}
	pair, err := b.memory.exactly(proc+uint64(l.waitLock), 20)
	if err != nil || binary.LittleEndian.Uint64(pair) != w.lock {
		return false
	}
	mode := binary.LittleEndian.Uint32(pair[16:])
	return mode >= 1 && mode <= 8 && conflicts[w.mode]&(1<<mode) != 0
}

// named fills in the pid.
func (l *layout) named(b *backend, o blocker) blocker {
	o.pid = -1
	if l.pid >= 0 {
		if p, err := b.memory.exactly(o.proc+uint64(l.pid), 4); err == nil {
			o.pid = int(int32(binary.LittleEndian.Uint32(p)))
		}
	}
	return o
}
