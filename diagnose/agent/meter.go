package agent

import (
	"fmt"
	"runtime"
	"time"

	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// meter counts what one measurement takes: the CPU time of its goroutine, which
// keeps an OS thread to itself meanwhile, so that neither other requests nor the
// rest of a standalone kmend are counted as its cost. What the probe spends
// inside the kernel is on the threads it interrupts and is not in it.
type meter struct {
	started time.Time
	clock   int32 // of this thread's CPU time, readable from every thread of the process
	before  time.Duration
}

// startMeter binds the calling goroutine to its thread until stop.
func startMeter() (m meter, stop func(), err error) {
	runtime.LockOSThread()
	// CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED of include/linux/posix-timers.h.
	m = meter{started: time.Now(), clock: int32(^unix.Gettid())<<3 | 4 | 2}
	if m.before, err = m.read(); err != nil {
		runtime.UnlockOSThread()
		return meter{}, nil, err
	}
	return m, runtime.UnlockOSThread, nil
}

func (m meter) read() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(m.clock, &ts); err != nil {
		return 0, fmt.Errorf("reading this thread's CPU time: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpu is the CPU time since the start.
func (m meter) cpu() time.Duration {
	now, err := m.read()
	if err != nil {
		return 0 // the thread has ended, and with it what was to be watched
	}
	return now - m.before
}

func (m meter) cost() incident.Cost {
	return incident.Cost{CPUMS: ms(m.cpu()), WallMS: ms(time.Since(m.started))}
}
