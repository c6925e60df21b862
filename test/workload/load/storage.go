package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const page = 4096

// timed runs one operation and adds it to the summary.
func (w *worker) timed(op func() error) error {
	begin := time.Now()
	err := op()
	w.waited.Add(int64(time.Since(begin)))
	w.ops.Add(1)
	return err
}

// rest pauses for Off; less than 10 µs is no pause.
func (w *worker) rest() {
	if w.Off >= 10*time.Microsecond {
		pause(w.Off)
	}
}

// fsync appends a block to a file below Dir, has it on the disk, and sleeps for
// Off: a database that commits.
func (w *worker) fsync() {
	f, err := unix.Open(w.Dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload: opening a file:", err)
		return
	}
	defer unix.Close(f)
	block := make([]byte, page)
	for i := int64(0); !w.stopped(); i++ {
		err := w.timed(func() error {
			if _, err := unix.Pwrite(f, block, i%1024*page); err != nil {
				return err
			}
			return unix.Fsync(f)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "workload: writing:", err)
			return
		}
		w.rest()
	}
}

// hog takes its part of MB of memory, fills it, gives it back, and again: in a
// cgroup with less it reclaims all the time, or is killed.
func (w *worker) hog() {
	size := w.MB << 20 / w.Threads
	for !w.stopped() {
		_ = w.timed(func() error {
			m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			for i := 0; i < size && !w.stopped(); i += page {
				m[i] = 1
			}
			return unix.Munmap(m)
		})
		w.rest()
	}
}

// mapped maps its part of a file of MB below Dir and reads a byte of each page,
// again and again: in a cgroup with less memory than that every read goes to the
// disk for a page that reclaim has just taken.
func (w *worker) mapped() {
	if err := w.readMapped(); err != nil {
		fmt.Fprintln(os.Stderr, "workload: reading a mapped file:", err)
	}
}

func (w *worker) readMapped() error {
	size := w.MB << 20 / w.Threads
	f, err := unix.Open(w.Dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	block := make([]byte, 1<<20)
	for at := 0; at < size && !w.stopped(); at += len(block) {
		if _, err := unix.Pwrite(f, block, int64(at)); err != nil {
			return err
		}
	}
	if err := unix.Fsync(f); err != nil {
		return err
	}
	m, err := unix.Mmap(f, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(m) }()
	var sum byte
	for !w.stopped() {
		_ = w.timed(func() error {
			for i := 0; i < size && !w.stopped(); i += page {
				sum += m[i]
			}
			return nil
		})
	}
	w.sink.Add(int64(sum))
	return nil
}
