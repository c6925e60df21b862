// Package probe is what every probe of bpf/ shares: whose threads a window
// measures, how a program is loaded and attached, and why it cannot be.
//
// A window: Members.Set says whom, each probe's Measure attaches, waits, reads
// and detaches, and Members.Clear ends it. Nothing is attached outside of one.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Links are attached programs.
type Links []link.Link

// Attach hooks programs to their BTF tracepoints, in order. The links are to be
// closed also when there is an error.
func Attach(progs ...*ebpf.Program) (Links, error) {
	var ls Links
	for _, prog := range progs {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog, AttachType: ebpf.AttachTraceRawTp})
		if err != nil {
			return ls, fmt.Errorf("attaching %s: %w", prog, typed("", err))
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// Close detaches all of them.
func (ls Links) Close() error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Iterate runs a BPF iterator to its end and returns what it wrote.
func Iterate(prog *ebpf.Program) ([]byte, error) {
	it, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, typed("", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Monotonic is the clock of bpf_ktime_get_ns and of task->start_time.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Tick is how long a jiffy is: the coarse clocks advance once in one.
func Tick() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("reading the length of a jiffy: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Now is one moment on the wall's clock and on Monotonic's, apart by no more than
// 0.1 ms; by more only where this process hardly gets a CPU.
func Now() (at time.Time, clock time.Duration, err error) {
	for range 5 {
		at = time.Now()
		clock, err = Monotonic()
		if err != nil || time.Since(at) < 100*time.Microsecond {
			break
		}
	}
	return at, clock, err
}

// WaitUntil returns when the monotonic clock has passed end, or the cause of ctx
// when that ends first.
func WaitUntil(ctx context.Context, end time.Duration) error {
	for {
		now, err := Monotonic()
		if err != nil || now > end {
			return err
		}
		t := time.NewTimer(end - now + 50*time.Microsecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// ClearMap deletes every key of a hash.
func ClearMap[K comparable](m *ebpf.Map) error {
	for {
		var k K
		err := m.NextKey(nil, &k)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("emptying %s: %w", m, err)
		}
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("emptying %s: %w", m, err)
		}
	}
}

// Entries reads a hash.
func Entries[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		out[k] = v
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", m, err)
	}
	return out, nil
}

// Comm is a thread's name as the kernel has it: up to a zero. It is untrusted.
func Comm(c [16]int8) string {
	b := make([]byte, len(c))
	for i := range c {
		b[i] = byte(c[i])
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
