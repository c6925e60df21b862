package load

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ExitEnv makes a process of fork mode end at once: whoever re-executes itself as
// the workload must look at it first.
const ExitEnv = "KMEND_WORKLOAD_EXIT"

type worker struct {
	Options
	done              <-chan struct{}
	born              atomic.Int64
	ops, waited, sink atomic.Int64 // of timed: how often, and in ns
	shared                         // of locks.go
}

// modes run on a locked thread each, until done.
var modes = map[string]func(*worker){
	"burn":   (*worker).burn,
	"bursty": (*worker).bursty,
	"sleep":  (*worker).sleep,
	"futex":  (*worker).futex,
	"fork":   (*worker).fork,
	"mmap":   (*worker).mmap,
	"io":     (*worker).io,

	"write": (*worker).write, "pipe": (*worker).pipe, "dir": (*worker).dir,
	"mutex": (*worker).contend, "queue": (*worker).queue, "chain": (*worker).chain,
	"barrier": (*worker).barrier, "pingpong": (*worker).pingpong,
	"ask": (*worker).ask, "answer": (*worker).answer,
	"fsync":  (*worker).fsync,
	"hog":    (*worker).hog,
	"mapped": (*worker).mapped,
}

// Modes lists the modes by name.
func Modes() []string { return slices.Sorted(maps.Keys(modes)) }

// waits reports whether the threads block where nothing wakes them, or only
// another thread that may have ended.
func (w *worker) waits() bool {
	switch w.Mode {
	case "futex", "sleep", "pipe", "mutex", "queue", "chain", "barrier", "pingpong", "ask", "answer":
		return true
	}
	return false
}

func (w *worker) stopped() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func spin(until time.Time) {
	for time.Now().Before(until) {
		for range 1000 {
			runtime.KeepAlive(nil)
		}
	}
}

// burn computes: nothing but user code.
func (w *worker) burn() {
	for !w.stopped() {
		spin(time.Now().Add(5 * time.Millisecond))
	}
}

// bursty computes for On and sleeps for Off in nanosleep(2), not in the runtime.
func (w *worker) bursty() {
	for !w.stopped() {
		spin(time.Now().Add(w.On))
		pause(w.Off)
	}
}

func (w *worker) sleep() { pause(time.Hour) }

func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&ts, &ts) == unix.EINTR {
	}
}

// futex waits in futex(2) for a wake-up that never comes.
func (w *worker) futex() {
	var word uint32
	const wait = 0
	for {
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), wait, 0, 0, 0, 0)
	}
}

// fork makes threads and processes that live for a moment, in turns.
func (w *worker) fork() {
	self, err := os.Executable()
	for !w.stopped() {
		dead := make(chan struct{})
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			spin(time.Now().Add(time.Millisecond))
			close(dead)
		}()
		<-dead
		w.born.Add(1)
		if err != nil {
			continue
		}
		c := exec.Command(self)
		c.Env = []string{ExitEnv + "=1"}
		if c.Run() == nil {
			w.born.Add(1)
		}
	}
}

// mmap maps, fills and unmaps memory: its threads contend for the lock of the
// process's address space.
func (w *worker) mmap() {
	const size = 1 << 20
	for !w.stopped() {
		m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		if err == nil {
			_ = unix.Munmap(m)
		}
	}
}

// io writes a block at a time straight to the disk below Dir and waits for it.
func (w *worker) io() {
	f, err := unix.Open(w.Dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload: opening a file for direct I/O:", err)
		return
	}
	defer unix.Close(f)
	const block = 4096
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return
	}
	for i := int64(0); !w.stopped(); i++ {
		if _, err := unix.Pwrite(f, buf, i%1024*block); err != nil {
			return
		}
	}
}
