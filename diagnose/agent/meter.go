package agent

import (
	"fmt"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync"
	"time"

	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// meter counts what one measurement takes: the CPU time of its goroutines, each
// of which keeps an OS thread to itself meanwhile, so that neither other requests
// nor the rest of a standalone kmend are counted as its cost. What the probes
// spend inside the kernel is on the threads they interrupt and is not in it.
type meter struct {
	started time.Time
	tables  int64 // bytes of the probes' tables in the kernel
	heap    int64 // bytes of this process when it started

	mu    sync.Mutex
	ended time.Duration           // CPU time of threads that have left
	open  map[int32]time.Duration // by clock: CPU time of the thread when it joined
	most  int64                   // bytes, as far as memory was asked
}

func newMeter() *meter {
	return &meter{started: time.Now(), heap: resident(), open: map[int32]time.Duration{}}
}

// join binds the calling goroutine to its thread and counts it until leave.
func (m *meter) join() (leave func(), err error) {
	runtime.LockOSThread()
	// Of this thread's CPU time, readable from every thread of the process:
	// CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED of include/linux/posix-timers.h.
	clock := int32(^unix.Gettid())<<3 | 4 | 2
	before, err := readClock(clock)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[clock] = before
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if now, err := readClock(clock); err == nil {
			m.ended += now - before
		}
		delete(m.open, clock)
		runtime.UnlockOSThread()
	}, nil
}

func readClock(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("reading a thread's CPU time: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpu is the CPU time since the start.
func (m *meter) cpu() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.ended
	for clock, before := range m.open {
		if now, err := readClock(clock); err == nil {
			sum += now - before
		}
	}
	return sum
}

// memory is the bytes in use now: the tables, and by how much this process has
// grown. In a standalone kmend that is not this measurement's alone.
func (m *meter) memory() int64 {
	used := m.tables + max(0, resident()-m.heap)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most = max(m.most, used)
	return used
}

// resident is what the Go runtime has from the system and has not given back.
func resident() int64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

func (m *meter) cost() incident.Cost {
	m.memory()
	return incident.Cost{CPUMS: ms(m.cpu()), WallMS: ms(time.Since(m.started)), MemoryBytes: m.most}
}
