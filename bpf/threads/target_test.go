package threads

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

// has reports whether a process is in a result.
func has(r Result, pid int) bool {
	return slices.ContainsFunc(r.Threads, func(th Thread) bool { return th.PID == pid })
}

func TestProcessTargetIsTheProcessAlone(t *testing.T) {
	w := rig.Start(t, "-mode", "fork")
	other := rig.Start(t, "-mode", "sleep")
	r := measure(t, probe.Target{PIDs: []int{w.PID}}, time.Second)
	if !has(r, w.PID) || has(r, other.PID) {
		t.Errorf("process %d is the target, %d is not; got %v", w.PID, other.PID, r.Threads)
	}
	for _, th := range r.Threads {
		if th.PID != w.PID {
			t.Errorf("thread %d of process %d, a child", th.TID, th.PID)
		}
	}
}

// On v1 any hierarchy names the processes; the cpu groups are found from them.
func TestV1Hierarchies(t *testing.T) {
	if rig.IsV2() {
		t.Skip("this machine has cgroup v2; it runs on a machine with v1 in `make test`")
	}
	for _, name := range []string{"cpu", "memory", "pids", "blkio", "cpuset", "systemd", "unified"} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/sys/fs/cgroup/"+name, "kmend-test-")
			if err != nil {
				t.Skipf("needs the hierarchy %s: %v", name, err)
			}
			g := rig.OpenGroup(t, dir)
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				if name == "cpuset" {
					v, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuset", f))
					if err := os.WriteFile(filepath.Join(dir, f), v, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			cpu := rig.NewGroup(t)
			wantGroup := cpu.ID()
			if name == "cpu" {
				wantGroup = g.ID() // it moves on into dir
			}
			w := rig.Start(t, "-mode", "fork", "-cgroup", cpu.Path, "-cgroup", dir)
			other := rig.Start(t, "-mode", "bursty", "-cgroup", cpu.Path)
			r := measure(t, probe.Target{Cgroups: []string{dir}}, time.Second)
			if !has(r, w.PID) || has(r, other.PID) {
				t.Errorf("process %d is the target, %d is not", w.PID, other.PID)
			}
			children := 0
			for _, th := range r.Threads {
				if th.PID != w.PID {
					children++
				}
				if th.CgroupID != wantGroup {
					t.Errorf("thread %d is of cpu group %d, not %d", th.TID, th.CgroupID, wantGroup)
				}
			}
			if children == 0 {
				t.Error("its children are of the target too, and none was seen")
			}
		})
	}
}

// A cgroup that is made below the target inside the window, and a process that is
// moved into it with all of its threads.
func TestMovedInDuringTheWindow(t *testing.T) {
	p := loaded(t)
	for range 3 {
		if movedIn(t, p) {
			return
		}
	}
	t.Fatal("three times the window began anew after the process was moved: this machine holds kmend up for longer than 700 ms")
}

// movedIn is false when the window began anew after the process was moved: a process
// that is held up in the wrong moment opens it again, and then there is nothing to see.
func movedIn(t *testing.T, p bench) bool {
	t.Helper()
	g := rig.NewGroup(t)
	w := rig.Start(t, "-mode", "burn", "-threads", "3")
	moved := make(chan string, 1)
	var begun uint64 // the window's start when the process was moved
	go func() {
		opened(t, p, 700*time.Millisecond)
		if err := p.objs.WindowStart.Get(&begun); err != nil {
			t.Error(err)
		}
		dir := filepath.Join(g.Path, "late")
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(w.PID)), 0o644)
		}
		if err != nil {
			dir = err.Error()
		}
		moved <- dir
	}()
	r := measure(t, of(g), 2*time.Second)
	rig.OpenGroup(t, <-moved)
	t.Cleanup(func() { w.Stop() })
	var start uint64
	if err := p.objs.WindowStart.Get(&start); err != nil {
		t.Fatal(err)
	}
	if start != begun {
		t.Logf("the window began anew %v after the process was moved", time.Duration(start-begun))
		return false
	}
	burners := 0
	for _, th := range r.Threads {
		if th.PID != w.PID {
			t.Errorf("process %d is not in the target", th.PID)
		}
		if ms(th.WallNS) > 1600 {
			t.Errorf("thread %d was in the target for 1.3 s, not %.0f ms", th.TID, ms(th.WallNS))
		}
		if th.StateNS[onCPU]+th.StateNS[runQueue] > th.WallNS/2 {
			burners++
		}
	}
	if burners != 3 {
		t.Errorf("three burning threads moved in, saw %d", burners)
	}
	return true
}

func TestBadTargets(t *testing.T) {
	p := loaded(t)
	for _, c := range []struct {
		name   string
		target probe.Target
		want   string
		is     error
	}{
		{"nothing", probe.Target{}, "neither a cgroup nor a process", nil},
		{"no such directory", probe.Target{Cgroups: []string{"/sys/fs/cgroup/nowhere"}}, "name an existing cgroup directory", fs.ErrNotExist},
		{"not a cgroup", probe.Target{Cgroups: []string{"/proc"}}, "not a cgroup directory", nil},
		{"a file", probe.Target{Cgroups: []string{cgroupRoot() + "/cgroup.procs"}}, "not a cgroup directory", nil},
		{"no such process", probe.Target{PIDs: []int{1 << 30}}, "no such process", fs.ErrNotExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.Measure(t.Context(), c.target, time.Second)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want one with %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
		})
	}
	if _, err := p.Measure(context.Background(), probe.Target{PIDs: []int{1}}, 0); err == nil {
		t.Error("a window of 0 is accepted")
	}
}

func cgroupRoot() string {
	if rig.IsV2() {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/cpu"
}
