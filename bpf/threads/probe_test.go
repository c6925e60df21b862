package threads

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

func (p *Probe) programs() []*ebpf.Program {
	o := p.objs
	return []*ebpf.Program{o.OnSwitch, o.OnWakeup, o.OnWakeupNew, o.OnMigrate, o.OnContentionBegin,
		o.OnContentionEnd, o.OnCgroupAttach, o.BeginThreads, o.EndThreads}
}

// attached counts the kernel's links to the probe's programs.
func attached(t *testing.T, p bench) (n int) {
	t.Helper()
	var ids []ebpf.ProgramID
	for _, prog := range p.programs() {
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		ids = append(ids, id)
	}
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err == nil && slices.Contains(ids, info.Program) {
			n++
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// detached waits a moment: the kernel frees links in the background.
func detached(t *testing.T, p bench) bool {
	for range 100 {
		if attached(t, p) == 0 {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// opened waits until a window is open, and then for a time inside it. Attaching
// can take seconds in a VM.
func opened(t *testing.T, p bench, inside time.Duration) {
	for range 60_000 {
		var start, end uint64
		now, err := probe.Monotonic()
		if err = errors.Join(err, p.objs.WindowStart.Get(&start), p.objs.WindowEnd.Get(&end)); err != nil {
			t.Error(err)
			return
		}
		if at := start + uint64(inside); start < end && at <= uint64(now) && uint64(now) < end {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("no window opened")
}

func TestNothingIsAttachedOutsideAWindow(t *testing.T) {
	p := loaded(t)
	w := rig.Start(t, "-mode", "sleep")
	if !detached(t, p) {
		t.Error("attached before the window")
	}
	during := make(chan int, 1)
	go func() {
		opened(t, p, 0)
		during <- attached(t, p)
	}()
	measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second)
	if n := <-during; n != 7 {
		t.Errorf("%d links during the window, there are 7 tracepoints", n)
	}
	if !detached(t, p) {
		t.Error("attached after the window")
	}
}

func TestCancelledWindow(t *testing.T) {
	p := loaded(t)
	w := rig.Start(t, "-mode", "sleep")
	why := errors.New("over its budget")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancelled := make(chan time.Time, 1)
	go func() {
		opened(t, p, 100*time.Millisecond)
		cancelled <- time.Now()
		cancel(why)
	}()
	_, err := p.Measure(ctx, probe.Target{PIDs: []int{w.PID}}, time.Minute)
	if !errors.Is(err, why) {
		t.Errorf("error is %v, want its cause", err)
	}
	if d := time.Since(<-cancelled); d > 30*time.Second {
		t.Errorf("it took %v to stop", d)
	}
	if !detached(t, p) {
		t.Error("attached after it was cancelled")
	}
	// The next window is not disturbed.
	if r := measure(t, probe.Target{PIDs: []int{w.PID}}, 500*time.Millisecond); !has(r, w.PID) {
		t.Error("the process is missing in the next window")
	}
}

func TestWindowsAreSerialised(t *testing.T) {
	p := loaded(t)
	w := rig.Start(t, "-mode", "sleep")
	first := make(chan struct{})
	go func() {
		defer close(first)
		_, _ = p.Measure(t.Context(), probe.Target{PIDs: []int{w.PID}}, time.Second)
	}()
	time.Sleep(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Measure(ctx, probe.Target{PIDs: []int{w.PID}}, time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second window at once: %v", err)
	}
	<-first
}

func TestClosedProbe(t *testing.T) {
	loaded(t)
	p, err := open(Options{MaxEnded: 16, MaxGroups: 16})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Measure(t.Context(), probe.Target{PIDs: []int{1}}, time.Second); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("measuring with a closed probe: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "MaxEnded is 0, allowed are 16"},
		{Options{MaxEnded: 16, MaxGroups: 1 << 21}, "MaxGroups is 2097152"},
	} {
		if _, err := Load(c.o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

func TestCPUList(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-2,7": {0, 1, 2, 7}, "": nil, "3-1": nil, "x": nil} {
		got, err := parseCPUList(list)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: %v, %v; want %v", list, got, err, want)
		}
	}
}
