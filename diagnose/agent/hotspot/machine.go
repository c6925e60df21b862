package hotspot

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	maxThreads = 8192 // of one machine; one with more is not looked at
	maxClasses = 1024
	maxFields  = 512 // bytes between the fields of a JavaThread; JDK 25 has 264
)

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
