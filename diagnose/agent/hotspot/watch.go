package hotspot

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxMachines = 32   // of one target; more are not looked at
	maxThreads  = 8192 // of one machine; one with more is not looked at
	maxLocks    = 4096 // of one target; locks are objects, and objects move
	maxClasses  = 1024
	maxFields   = 512 // bytes between the fields of a JavaThread; JDK 25 has 264

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

// machine is a virtual machine that is looked at.
type machine struct {
	pid    int
	dir    string // /proc/PID
	memory memory
	layout *layout
	names  map[uint64]string // of classes
	tids   map[int]int       // by those of its own namespace
	listed bool              // in this look
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

// owners find the OSThread* of a monitor's owner: until JDK 23 it is named by its
// JavaThread*, later by a number. Where nobody waited yet when it got the monitor it is an
// address in its stack; since JDK 21 it is then nobody.
func (m *machine) owners(threads []thread) func(owner uint64) (system uint64) {
	l := m.layout
	addrs := func(field uint64) (out []uint64) {
		for _, t := range threads {
			out = append(out, t.address+field)
		}
		return out
	}
	if l.identity != 0 {
		numbers := words(m.memory.gather(addrs(l.identity), 8))
		return func(owner uint64) uint64 {
			if i := slices.Index(numbers, owner); i >= 0 {
				return threads[i].system
			}
			return 0
		}
	}
	bases, sizes := words(m.memory.gather(addrs(l.stack), 8)), words(m.memory.gather(addrs(l.stackSize), 8))
	return func(owner uint64) uint64 {
		for i, t := range threads {
			if owner == t.address || owner < bases[i] && bases[i]-owner <= sizes[i] {
				return t.system
			}
		}
		return 0
	}
}

// thread is a JavaThread.
type thread struct{ address, pending, handle, system uint64 }

func (m *machine) threads() []thread {
	l := m.layout
	list := m.memory.word(l.threads)
	n := m.memory.half(list + l.length)
	if list == 0 || n > maxThreads {
		return nil
	}
	array := make([]byte, 8*n)
	if m.memory.read(m.memory.word(list+l.array), array) != nil {
		return nil
	}
	addrs := words(array)
	from, to := min(l.thread, l.pending, l.system), max(l.thread, l.pending, l.system)+8
	if to-from > maxFields {
		return nil
	}
	size := to - from
	for i := range addrs {
		addrs[i] += from
	}
	fields := m.memory.gather(addrs, int(size))
	out := make([]thread, 0, n)
	for _, a := range addrs {
		at := func(offset uint64) uint64 { return binary.LittleEndian.Uint64(fields[offset-from:]) }
		out = append(out, thread{a - from, at(l.pending), at(l.thread), at(l.system)})
		fields = fields[size:]
	}
	return out
}

func words(b []byte) (out []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		out = append(out, binary.LittleEndian.Uint64(b))
	}
	return out
}

// waits are the locks that threads wait for; the address of no lock is 0.
func (m *machine) waits(threads []thread) []Lock {
	out := make([]Lock, len(threads))
	handles := make([]uint64, len(threads))
	for i, t := range threads {
		handles[i] = t.handle
		if t.pending != 0 {
			object := m.memory.word(m.memory.word(t.pending + m.layout.object))
			out[i] = Lock{Address: t.pending, Class: m.class(object), Monitor: true}
		}
	}
	if m.layout.blocker == 0 || !m.layout.classes {
		return out
	}
	objects := words(m.memory.gather(handles, 8))
	for i := range objects {
		objects[i] += m.layout.blocker
	}
	size := 8
	if m.layout.compressed {
		size = 4
	}
	blockers := m.memory.gather(objects, size)
	for i := range out {
		blocker := m.reference(blockers[i*size:])
		if class := m.class(blocker); out[i].Address == 0 && slices.Contains(lockClasses, class) {
			outer, _, _ := strings.Cut(class, "$")
			out[i] = Lock{Address: blocker, Class: outer}
		}
	}
	return out
}

// lockClasses are what those park for who wait for a lock of java.util.concurrent,
// and nobody else.
var lockClasses = []string{
	"java.util.concurrent.locks.ReentrantLock$NonfairSync",
	"java.util.concurrent.locks.ReentrantLock$FairSync",
	"java.util.concurrent.locks.ReentrantReadWriteLock$NonfairSync",
	"java.util.concurrent.locks.ReentrantReadWriteLock$FairSync",
	stamped,
}

// stamped is one that does not know its owner.
const stamped = "java.util.concurrent.locks.StampedLock"

// reference is the object that a field of an object refers to.
func (m *machine) reference(field []byte) uint64 {
	if !m.layout.compressed {
		return binary.LittleEndian.Uint64(field)
	}
	v := uint64(binary.LittleEndian.Uint32(field))
	if v == 0 {
		return 0
	}
	return m.layout.oopBase + v<<m.layout.oopShift
}

// class is the name of an object's class.
func (m *machine) class(object uint64) string {
	if object == 0 || !m.layout.classes {
		return ""
	}
	narrow := m.memory.half(object + m.layout.klass)
	if name, ok := m.names[narrow]; ok {
		return name
	}
	symbol := m.memory.word(m.layout.klassBase + narrow<<m.layout.klassShift + m.layout.name)
	name := make([]byte, min(m.memory.half(symbol+m.layout.size)&0xffff, 256))
	if m.memory.read(symbol+m.layout.body, name) != nil {
		return ""
	}
	if len(m.names) >= maxClasses {
		clear(m.names)
	}
	m.names[narrow] = strings.ReplaceAll(string(name), "/", ".")
	return m.names[narrow]
}

// sleeps reports whether a thread sleeps in futex(2), and its id for the kernel. One
// that has been woken and waits for a CPU does not sleep.
func (m *machine) sleeps(system uint64) (tid int, ok bool) {
	tid = m.outer(int(m.memory.half(system + m.layout.tid)))
	b, err := os.ReadFile(filepath.Join(m.dir, "task", strconv.Itoa(tid), "syscall"))
	if err != nil {
		return tid, false
	}
	call, _, _ := strings.Cut(string(b), " ")
	return tid, call == futexCall
}

var futexCall = map[string]string{"amd64": "202", "arm64": "98"}[runtime.GOARCH]

// outer translates a thread id of the machine's own pid namespace.
func (m *machine) outer(inner int) int {
	if tid, ok := m.tids[inner]; ok {
		return tid
	}
	if tid, ok := innermost(filepath.Join(m.dir, "task", strconv.Itoa(inner))); ok && tid == inner {
		m.tids[inner] = inner
		return inner
	}
	if m.listed {
		return 0
	}
	m.listed = true
	tasks, err := os.ReadDir(filepath.Join(m.dir, "task"))
	if err != nil {
		return 0
	}
	for _, t := range tasks[:min(len(tasks), maxThreads)] {
		tid, err := strconv.Atoi(t.Name())
		if in, ok := innermost(filepath.Join(m.dir, "task", t.Name())); err == nil && ok {
			m.tids[in] = tid
		}
	}
	return m.tids[inner]
}

// innermost is a thread's id in its own namespace.
func innermost(dir string) (tid int, ok bool) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			tid, err := strconv.Atoi(f[max(0, len(f)-1)])
			return tid, err == nil
		}
	}
	return 0, false
}

// holder is the thread that has the lock now.
func (m *machine) holder(lock *Lock, ownerOf func(uint64) uint64) (tid int, ok bool) {
	l := m.layout
	var system uint64 // OSThread*
	switch {
	case lock.Monitor:
		if owner := m.memory.word(lock.Address + l.owner); owner != 0 {
			system = ownerOf(owner)
		}
	case l.holds != 0 && l.eetop != 0 && lock.Class != stamped:
		var field [8]byte
		if m.memory.read(lock.Address+l.holds, field[:]) == nil {
			if object := m.reference(field[:]); object != 0 {
				system = m.memory.word(m.memory.word(object+l.eetop) + l.system)
			}
		}
	}
	if system == 0 {
		return 0, false
	}
	tid = m.outer(int(m.memory.half(system + l.tid)))
	return tid, tid != 0
}
