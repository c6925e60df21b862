package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

type bench struct {
	*Probe
	members *probe.Members
}

func loaded(t *testing.T, o Options) bench {
	t.Helper()
	rig.Root(t)
	members, err := probe.NewMembers(probe.MinGroups)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Load(o, members)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), members.Close()); err != nil {
			t.Error(err)
		}
	})
	return bench{p, members}
}

func (b bench) measure(t *testing.T, target probe.Target, window time.Duration) Result {
	t.Helper()
	if err := b.members.Set(target); err != nil {
		t.Fatal(err)
	}
	r, err := b.Measure(t.Context(), window)
	if err = errors.Join(err, b.members.Clear()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d samples, %d stacks, lost %d", r.Samples, len(r.Stacks), r.Lost)
	return r
}

// within is whether an address is in a mapping of the process with these rights.
func within(t *testing.T, maps string, addr uint64, rights string) bool {
	t.Helper()
	for line := range strings.Lines(maps) {
		var from, to uint64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
			t.Fatal(err)
		}
		if addr >= from && addr < to && strings.HasPrefix(perms, rights) {
			return true
		}
	}
	return false
}

// The witness of how many samples there must be is the CPU time that the kernel has
// billed to the process meanwhile. The bounds are wide: what the hypervisor steals is
// billed and not sampled, and beside others a thread is met by chance.
func TestSamplesAreCPUTime(t *testing.T) {
	b := loaded(t, DefaultOptions())
	g := rig.NewGroup(t)
	w := rig.Start(t, "-mode", "burn", "-cgroup", g.Path)
	stolen, billed := rig.Stolen(t), w.BilledMS()
	r := b.measure(t, probe.Target{Cgroups: []string{g.Path}}, 2*time.Second)
	billed, stolen = w.BilledMS()-billed, rig.Stolen(t)-stolen+20
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", w.PID))
	if err != nil {
		t.Fatal(err)
	}
	sampled := float64(r.Samples) * 1000 / Hz
	if sampled < 0.5*(billed-stolen)-100 || sampled > 1.3*billed+100 {
		t.Errorf("%d samples stand for %.0f ms on CPU, billed were %.0f and stolen at most %.0f", r.Samples, sampled, billed, stolen)
	}
	if r.Lost != 0 || len(r.Stacks) != int(r.Samples) {
		t.Errorf("%d of %d stacks, lost %d", len(r.Stacks), r.Samples, r.Lost)
	}
	odd := 0
	for _, s := range r.Stacks {
		if s.PID != w.PID {
			t.Fatalf("a stack of process %d, the target is %d", s.PID, w.PID)
		}
		// What lies above a goroutine's stack may never have been touched, and is not read then.
		if !within(t, string(maps), s.IP, "r-x") || !within(t, string(maps), s.SP, "rw") || len(s.User) == 0 {
			t.Logf("at %x with the stack at %x, of which %d bytes were read", s.IP, s.SP, len(s.User))
			odd++
		}
	}
	// A goroutine's stack can grow, and be unmapped, between the two.
	if odd > len(r.Stacks)/10 {
		t.Errorf("%d of %d stacks are not in the process's memory", odd, len(r.Stacks))
	}
}

// In the kernel the kernel's frames are recorded too, and the registers are those
// with which the thread entered it.
func TestKernelFrames(t *testing.T) {
	b := loaded(t, DefaultOptions())
	w := rig.Start(t, "-mode", "mmap", "-threads", "2")
	r := b.measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second)
	kernel := 0
	for _, s := range r.Stacks {
		if len(s.Kernel) > 0 {
			kernel++
			if slices.ContainsFunc(s.Kernel, func(a uint64) bool { return a>>47 == 0 }) {
				t.Errorf("frames of the kernel %x", s.Kernel)
			}
		}
	}
	if kernel < len(r.Stacks)/4 || kernel == 0 {
		t.Errorf("%d of %d stacks have frames of the kernel; the process maps memory", kernel, len(r.Stacks))
	}
}

func TestMoreSamplesThanRoom(t *testing.T) {
	b := loaded(t, Options{MaxStacks: 16})
	w := rig.Start(t, "-mode", "burn", "-threads", "2")
	r := b.measure(t, probe.Target{PIDs: []int{w.PID}}, 2*time.Second)
	if r.Samples <= 16 || len(r.Stacks) != 16 {
		t.Errorf("%d stacks of %d samples, there is room for 16", len(r.Stacks), r.Samples)
	}
	for _, s := range r.Stacks {
		if s.PID != w.PID || s.IP == 0 {
			t.Errorf("stack of process %d at %x", s.PID, s.IP)
		}
	}
}

func TestOthersAreNotSampled(t *testing.T) {
	b := loaded(t, DefaultOptions())
	rig.Start(t, "-mode", "burn")
	idle := rig.Start(t, "-mode", "sleep")
	if r := b.measure(t, probe.Target{PIDs: []int{idle.PID}}, time.Second); r.Samples > 5 {
		t.Errorf("%d samples of a process that sleeps", r.Samples)
	}
}

// attached counts the kernel's links to the program. A link of others that goes away
// while it is looked at ends the kernel's list early: it is read again.
func attached(t *testing.T, p *Probe) int {
	t.Helper()
	info, err := p.objs.OnSample.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	for {
		var it link.Iterator
		n := 0
		for it.Next() {
			if info, err := it.Link.Info(); err == nil && info.Program == id {
				n++
			}
		}
		err := it.Err()
		it.Close()
		if err == nil {
			return n
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
}

func TestCancelled(t *testing.T) {
	b := loaded(t, DefaultOptions())
	w := rig.Start(t, "-mode", "sleep")
	if err := b.members.Set(probe.Target{PIDs: []int{w.PID}}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.members.Clear() }()
	why := errors.New("over its budget")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Measure(ctx, time.Minute)
		done <- err
	}()
	for n := 0; attached(t, b.Probe) == 0; n++ {
		if n > 3000 {
			t.Fatal("nothing is attached during the window")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("error is %v, want its cause", err)
	}
	for n := 0; attached(t, b.Probe) > 0; n++ { // the kernel frees links in the background
		if n > 300 {
			t.Fatal("attached after it was cancelled")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestOptions(t *testing.T) {
	for _, n := range []int{0, 15, 4097} {
		if err := (Options{MaxStacks: n}).validate(); err == nil || !strings.Contains(err.Error(), "allowed are 16 to 4096") {
			t.Errorf("%d: %v", n, err)
		}
	}
	var u *probe.UnsupportedError
	if err := Supported(); err != nil && !errors.As(err, &u) {
		t.Errorf("Supported() is %v, not an *probe.UnsupportedError", err)
	}
}
