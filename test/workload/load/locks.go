package load

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shared is what the threads of a locking mode have in common. Futex words are of
// this package's own mutex and queue, so that the modes need no C library.
type shared struct {
	once    sync.Once
	fd      int
	ends    [2]int
	next    atomic.Int32 // numbers the threads
	lock    mutex
	work    atomic.Uint32 // items in the queue
	arrived atomic.Uint32
	round   atomic.Uint32
	turns   []atomic.Uint32
}

// write writes one file from every thread: they contend for the inode's lock.
func (w *worker) write() {
	w.once.Do(func() {
		runtime.GOMAXPROCS(w.Threads + 2) // a thread that waits in the kernel keeps its place in Go's scheduler
		var err error
		if w.fd, err = unix.MemfdCreate("kmend-load", 0); err != nil {
			fmt.Fprintln(os.Stderr, "workload: making a file in memory:", err)
			os.Exit(1)
		}
	})
	buf := make([]byte, 256<<10)
	for !w.stopped() {
		_, _ = unix.Pwrite(w.fd, buf, 0)
	}
}

// pipe writes and reads one pipe from every thread, never more than it holds.
func (w *worker) pipe() {
	w.once.Do(func() {
		runtime.GOMAXPROCS(w.Threads + 2)
		if err := unix.Pipe(w.ends[:]); err != nil {
			fmt.Fprintln(os.Stderr, "workload: making a pipe:", err)
			os.Exit(1)
		}
		_, _ = unix.FcntlInt(uintptr(w.ends[1]), unix.F_SETPIPE_SZ, 1<<20)
	})
	size := (1 << 20) / (2 * w.Threads)
	buf := make([]byte, min(size, 64<<10))
	for !w.stopped() {
		_, _ = unix.Write(w.ends[1], buf)
		_, _ = unix.Read(w.ends[0], buf)
	}
}

// dir makes and removes files in one directory from every thread.
func (w *worker) dir() {
	w.once.Do(func() { runtime.GOMAXPROCS(w.Threads + 2) })
	name := filepath.Join(w.Dir, "kmend-load-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(int(w.next.Add(1))))
	for !w.stopped() {
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			_ = unix.Close(fd)
		}
		_ = unix.Unlink(name)
	}
}

// mutex is the textbook futex lock: 0 free, 1 held, 2 held and waited for.
// Source: U. Drepper, Futexes Are Tricky, mutex2.
type mutex struct{ word atomic.Uint32 }

func (m *mutex) acquire() {
	if m.word.CompareAndSwap(0, 1) {
		return
	}
	for m.word.Swap(2) != 0 {
		futexWait(&m.word, 2)
	}
}

func (m *mutex) release() {
	if m.word.Swap(0) == 2 {
		futexWake(&m.word, 1)
	}
}

func futexWait(word *atomic.Uint32, while uint32) {
	const waitPrivate = 0 | 128
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), waitPrivate, uintptr(while), 0, 0, 0)
}

func futexWake(word *atomic.Uint32, n int) {
	const wakePrivate = 1 | 128
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wakePrivate, uintptr(n), 0, 0, 0)
}

// contend holds one lock for On at a time, and rests for Off between.
func (w *worker) contend() {
	w.once.Do(func() { runtime.GOMAXPROCS(w.Threads + 2) })
	for !w.stopped() {
		w.lock.acquire()
		spin(time.Now().Add(w.On))
		w.lock.release()
		spin(time.Now().Add(w.Off))
	}
}

func (w *worker) put() {
	w.work.Add(1)
	futexWake(&w.work, 1)
}

func (w *worker) take() {
	for {
		n := w.work.Load()
		if n > 0 && w.work.CompareAndSwap(n, n-1) {
			return
		}
		if n == 0 {
			futexWait(&w.work, 0)
		}
	}
}

// queue has one thread that brings work every Off, and workers that take On for it.
func (w *worker) queue() {
	w.once.Do(func() { runtime.GOMAXPROCS(w.Threads + 2) })
	producer := w.next.Add(1) == 1
	for !w.stopped() {
		if producer {
			pause(w.Off)
			w.put()
		} else {
			w.take()
			spin(time.Now().Add(w.On))
		}
	}
}

// chain is a pool whose only item of work makes the next one: its workers wake
// each other and one works at a time, but nobody holds anything.
func (w *worker) chain() {
	w.once.Do(func() {
		runtime.GOMAXPROCS(w.Threads + 2)
		w.put()
	})
	for !w.stopped() {
		w.take()
		spin(time.Now().Add(w.On))
		w.put()
		pause(w.Off)
	}
}

// barrier works On in rounds: the last to arrive wakes the others.
func (w *worker) barrier() {
	w.once.Do(func() { runtime.GOMAXPROCS(w.Threads + 2) })
	me := w.next.Add(1)
	for !w.stopped() {
		spin(time.Now().Add(w.On * time.Duration(me)))
		round := w.round.Load()
		if int(w.arrived.Add(1)) == w.Threads {
			w.arrived.Store(0)
			w.round.Add(1)
			futexWake(&w.round, 1<<30)
			continue
		}
		for w.round.Load() == round {
			futexWait(&w.round, round)
		}
	}
}

// pingpong hands work around in a circle, each thread waiting at its own word.
func (w *worker) pingpong() {
	w.once.Do(func() {
		runtime.GOMAXPROCS(w.Threads + 2)
		w.turns = make([]atomic.Uint32, w.Threads)
		w.turns[0].Store(1)
	})
	me := int(w.next.Add(1)) - 1
	for !w.stopped() {
		for w.turns[me].Load() == 0 {
			futexWait(&w.turns[me], 0)
		}
		w.turns[me].Store(0)
		spin(time.Now().Add(w.On))
		other := &w.turns[(me+1)%w.Threads]
		other.Store(1)
		futexWake(other, 1)
	}
}
