package agent

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/stack"
	"github.com/kmend/kmend/diagnose/agent/symbols"
	"github.com/kmend/kmend/incident"
)

// instrumentNamed finds an instrument.
func instrumentNamed(t *testing.T, name string) instrument {
	t.Helper()
	for _, i := range instruments(symbols.NewKernelSymbols("/proc")) {
		if i.name == name {
			return i
		}
	}
	t.Fatalf("there is no instrument %q", name)
	return instrument{}
}

// instrumentOn measures one target with one instrument, without the ledger.
func instrumentOn(t *testing.T, name string, s subject, window time.Duration) reading {
	t.Helper()
	members, err := probe.NewMembers(probe.MinGroups)
	if err != nil {
		t.Fatal(err)
	}
	m, err := instrumentNamed(t, name).load(members)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(m.Close(), members.Clear(), members.Close()); err != nil {
			t.Error(err)
		}
	}()
	if err := members.Set(s.target); err != nil {
		t.Fatal(err)
	}
	r, err := m.Measure(t.Context(), s, window)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.evidence {
		t.Logf("%s %s %.1f %s %v", e.Metric, e.Subject, e.Value, e.Unit, e.Stack)
	}
	return r
}

func first(r reading, metric string) incident.Evidence {
	for _, e := range r.evidence {
		if e.Metric == metric {
			return e
		}
	}
	return incident.Evidence{}
}

// A real program spins in a real library; the library's function and the way to it
// are named, although neither has frame pointers.
func TestProfileNamesTheHotFunction(t *testing.T) {
	l := newLab(t)
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler and runs in `make test` on Debian with gcc installed")
	}
	dir := t.TempDir()
	build := func(out string, args ...string) string {
		t.Helper()
		out = filepath.Join(dir, out)
		args = append(args, "-O2", "-fomit-frame-pointer", "-o", out)
		if b, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("cc %v: %v\n%s", args, err, b)
		}
		return out
	}
	lib := build("libvictim.so.1.0", "symbols/testdata/lib.c", "-shared", "-fPIC")
	victim := build("victim", "symbols/testdata/victim.c", lib, "-Wl,-rpath,"+dir)

	group := l.group("victim", heavy, 0) // before the process, which then ends first
	cmd := exec.Command(victim, "s")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var pid int
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	l.write(group, "cgroup.procs", fmt.Sprint(pid))
	r := instrumentOn(t, "profile", subject{target: probe.Target{PIDs: []int{pid}}, proc: "/proc"}, time.Second)
	if n := first(r, "samples"); n.Value < 10 {
		t.Fatalf("%.0f samples in 1 s of a loop", n.Value)
	}
	if hot := first(r, "hot_function"); hot.Subject != "deep (libvictim.so.1.0)" || hot.Value < 50 || hot.Value > 100 {
		t.Errorf("the hottest function is %q with %.0f%%", hot.Subject, hot.Value)
	}
	way := strings.Join(first(r, "hot_stack").Stack, "\n")
	if !strings.HasPrefix(way, "deep (libvictim.so.1.0)\ndeep") || !strings.Contains(way, "\nlib_step (libvictim.so.1.0)\nserve (victim)\nmain (victim)\n") {
		t.Errorf("the hottest stack is\n%s", way)
	}
}

func TestHottest(t *testing.T) {
	frame := func(f, module string) symbols.Frame { return symbols.Frame{Func: f, Module: module} }
	all := []symbols.Stack{
		{User: []symbols.Frame{frame("a", "app"), frame("main", "app")}},
		{User: []symbols.Frame{frame("a", "app"), frame("other", "app")}},
		{User: []symbols.Frame{{Module: "lib.so", Offset: 1}}},
		{User: []symbols.Frame{{Module: "lib.so", Offset: 2}}},
		{User: []symbols.Frame{{Module: "lib.so", Offset: 3}}},
		{Kernel: []symbols.Frame{frame("copy", "kernel")}, User: []symbols.Frame{frame("a", "app")}},
		{},
		{},
	}
	got := hotFunctions(all)
	for i, want := range []incident.Evidence{
		{Subject: "lib.so", Value: 37.5}, {Subject: "a (app)", Value: 25}, {Subject: "copy (kernel)", Value: 12.5},
	} {
		if i >= len(got) || got[i].Subject != want.Subject || got[i].Value != want.Value || got[i].Unit != "%" {
			t.Errorf("%d is %+v, want %+v", i, got[i], want)
		}
	}
	if s := hotStacks(all); len(s) != topHot || s[0].Value != 12.5 {
		t.Errorf("stacks %+v", s)
	}
}

func TestRareKernelFrames(t *testing.T) {
	all := make([]stack.Stack, 40)
	all[3].Kernel, all[7].Kernel = []uint64{1}, []uint64{2}
	if in := withoutRareKernel(all); len(in) != 2 || in[0] != 3 || all[3].Kernel != nil {
		t.Errorf("2 of 40: %v %v", in, all[3])
	}
	for i := range 3 {
		all[i].Kernel = []uint64{1}
	}
	if in := withoutRareKernel(all); in != nil || all[0].Kernel == nil {
		t.Errorf("3 of 40: %v", in)
	}
}
