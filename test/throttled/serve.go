package throttled

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	envSpec     = "KMEND_TEST_WORKLOAD"
	reportEvery = 250 * time.Millisecond
)

// Latency is how long the workload's requests took, from its own clock, in the
// last quarter second.
type Latency struct {
	Requests int           `json:"requests"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
}

// Latency is the workload's latest account of itself.
func (w *Workload) Latency() (Latency, error) {
	var l Latency
	line := w.stats.get()
	if line == "" {
		return l, errors.New("no request served yet")
	}
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return l, fmt.Errorf("reading the workload's account: %w", err)
	}
	return l, nil
}

// RunIfAsked is to be the first call of main, or of TestMain, of every program
// that uses Start: the workload is that program, started again. In the program
// itself it does nothing.
func RunIfAsked() {
	spec := os.Getenv(envSpec)
	if spec == "" {
		return
	}
	if err := serve(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(spec string) error {
	fields := strings.Split(spec, "|")
	if len(fields) != 4 {
		return fmt.Errorf("%s=%q: want CGROUP|THREADS|WORK|PAUSE", envSpec, spec)
	}
	threads, err1 := strconv.Atoi(fields[1])
	work, err2 := time.ParseDuration(fields[2])
	pause, err3 := time.ParseDuration(fields[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("%s=%q: %w", envSpec, spec, err)
	}
	// Into the cgroup before there are threads to serve, and by itself: it has no
	// moment outside.
	cg := &Cgroup{Path: fields[0]}
	if err := cg.Add(os.Getpid()); err != nil {
		return err
	}
	runtime.GOMAXPROCS(threads + 1) // a thread back from its pause never waits for another's slot
	var served samples
	for range threads {
		go func() {
			runtime.LockOSThread()
			for {
				began := time.Now()
				burn(work)
				served.add(time.Since(began))
				if pause > 0 {
					sleep(pause)
				}
			}
		}()
	}
	out := json.NewEncoder(os.Stdout)
	for range time.Tick(reportEvery) {
		if l := served.take(); l.Requests > 0 {
			if err := out.Encode(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// burn takes d of the calling thread's CPU time.
func burn(d time.Duration) {
	end := threadTime() + d
	for x := uint64(1); threadTime() < end; {
		for range 2000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		runtime.KeepAlive(x)
	}
}

// sleep blocks the thread in the kernel. Go is not told: handing the thread's
// slot on and taking it back would cost a third of the workload's CPU time.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

type samples struct {
	mu sync.Mutex
	d  []time.Duration
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	s.d = append(s.d, d)
	s.mu.Unlock()
}

func (s *samples) take() Latency {
	s.mu.Lock()
	d := s.d
	s.d = nil
	s.mu.Unlock()
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	return Latency{Requests: len(d), P50: d[len(d)/2], P99: d[len(d)*99/100]}
}

// lastLine keeps the last whole line that was written to it.
type lastLine struct {
	mu         sync.Mutex
	part, last string
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part += string(p)
	for {
		line, rest, ok := strings.Cut(l.part, "\n")
		if !ok {
			return len(p), nil
		}
		l.last, l.part = line, rest
	}
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
