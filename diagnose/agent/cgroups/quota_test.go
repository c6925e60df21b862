package cgroups

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuotas(t *testing.T) {
	for _, c := range []struct {
		name, mounts, top string
		set               func(f fake, dir, quota, stat string)
	}{
		{"v1", v1, "cpu,cpuacct", func(f fake, dir, quota, stat string) {
			f.file(dir+"/cpu.cfs_quota_us", quota+"\n")
			f.file(dir+"/cpu.cfs_period_us", "100000\n")
			f.file(dir+"/cpu.stat", "nr_periods 30\nnr_throttled 12\nthrottled_time "+stat+"000\n")
		}},
		{"v2", v2, "unified", func(f fake, dir, quota, stat string) {
			f.file(dir+"/cpu.max", strings.Replace(quota, "-1", "max", 1)+" 100000\n")
			f.file(dir+"/cpu.stat", "usage_usec 5\nnr_periods 30\nnr_throttled 12\nthrottled_usec "+stat+"\n")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n := newFake(t, c.mounts)
			c.set(f, c.top+"/pod", "50000", "1261000")
			c.set(f, c.top+"/pod/a", "-1", "0")
			c.set(f, c.top+"/pod/a/deep", "150000", "7")
			f.dir(c.top + "/pod/b") // no files: the controller is not enabled
			dir := func(p string) string { return filepath.Join(f.root, c.top, p) }
			got, err := n.Quotas([]string{dir("pod/a/deep"), dir("pod/b"), dir("gone")})
			if err != nil || len(got) != 2 {
				t.Fatalf("%+v, %v", got, err)
			}
			near, far := got[0], got[1]
			if near.Path != "/pod/a/deep" || near.CPUs != 1.5 || near.Stat.Time != 7*time.Microsecond {
				t.Errorf("nearest %+v", near)
			}
			want := Quota{dir("pod"), "/pod", 0.5, 100 * time.Millisecond, Stat{30, 12, 1261 * time.Millisecond}}
			if far != want {
				t.Errorf("got %+v, want %+v", far, want)
			}
			f.file(c.top+"/pod/cpu.stat", "nr_periods many\n")
			if _, err := n.Quotas([]string{dir("pod")}); err == nil || !strings.Contains(err.Error(), "nr_periods many") {
				t.Errorf("a cpu.stat that cannot be read: %v", err)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	f, n := newFake(t, v1)
	f.process(7, "4:memory:/jobs\n2:cpu,cpuacct:/batch/low\n1:name=systemd:/x.service\n0::/x\n")
	f.process(8, "4:memory:/jobs/sub\n2:cpu,cpuacct:/web\n")
	f.file("memory/jobs/cgroup.procs", "7\n")
	f.file("memory/jobs/sub/cgroup.procs", "8\n9\n0\n") // 9 has ended
	cpu := func(p string) string { return filepath.Join(f.root, "cpu,cpuacct", p) }
	got, err := n.Groups([]string{filepath.Join(f.root, "memory/jobs")}, nil)
	if want := []string{cpu("batch/low"), cpu("web")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("by memory %q, %v; want %q", got, err, want)
	}
	got, err = n.Groups(nil, []int{8})
	if want := []string{cpu("web")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("by process %q, %v; want %q", got, err, want)
	}
	f.dir("cpu,cpuacct/web/a/b")
	got, err = n.Groups([]string{cpu("web")}, nil)
	if want := []string{cpu("web"), cpu("web/a"), cpu("web/a/b")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("by cpu %q, %v; want %q", got, err, want)
	}
	names := n.Names()
	if !slices.Contains(slices.Collect(maps.Values(names)), "/web/a/b") {
		t.Errorf("names %v", names)
	}
}

// A process's group is in the hierarchy that has the quotas; the root is none.
func TestGroup(t *testing.T) {
	for _, c := range []struct{ name, mounts, cgroup, want string }{
		{"v1", v1, "4:memory:/jobs\n2:cpu,cpuacct:/batch/low\n0::/x\n", "cpu,cpuacct/batch/low"},
		{"v2", v2, "0::/batch/low\n", "unified/batch/low"},
		{"v1 root", v1, "4:memory:/batch/low\n2:cpu,cpuacct:/\n0::/batch/low\n", ""},
		{"v2 root", v2, "0::/\n", ""},
		{"removed", v2, "0::/batch/gone (deleted)\n", ""},
		{"outside of this cgroup namespace", v2, "0::/../batch\n", ""},
		{"no process", v2, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n := newFake(t, c.mounts)
			for _, d := range []string{"cpu,cpuacct/batch/low", "unified/batch/low", "memory/batch/low", "batch"} {
				f.dir(d)
			}
			if c.cgroup != "" {
				f.process(7, c.cgroup)
			}
			want := ""
			if c.want != "" {
				want = filepath.Join(f.root, c.want)
			}
			if got, ok := n.Group(7); got != want || ok != (want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, want)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	f, n := newFake(t, v2)
	f.process(7, "0::/a\n")
	f.file("proc/8/status", "State:\tR (running)\nTgid:\t7\n")
	f.file("proc/9/status", "State:\tZ (zombie)\nTgid:\t9\n")
	if err := n.Process(7); err != nil {
		t.Error(err)
	}
	for pid, text := range map[int]string{8: "thread of process 7", 9: "has ended", 10: "does not exist", 0: "does not exist", -1: "does not exist"} {
		if err := n.Process(pid); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), text) {
			t.Errorf("%d: %v, want %q", pid, err, text)
		}
	}
}

// A container may see a part of a hierarchy only, and paths with spaces.
func TestMounts(t *testing.T) {
	_, n := newFake(t, "30 29 0:26 /pods/x ROOT/a\\040b rw - cgroup2 cgroup2 rw\n")
	m, ok := n.CPU()
	if !ok || !strings.HasSuffix(m.Dir, "/a b") || n.Mode() != "v2" {
		t.Fatalf("%+v", m)
	}
	if dir, ok := m.dir("/pods/x/y"); !ok || dir != m.Dir+"/y" {
		t.Errorf("/pods/x/y is %q, %v", dir, ok)
	}
	for _, p := range []string{"/pods/xy", "/other"} {
		if dir, ok := m.dir(p); ok {
			t.Errorf("%s is %q; it is not mounted", p, dir)
		}
	}
	if p, ok := m.Path(m.Dir + "/y"); !ok || p != "/pods/x/y" {
		t.Errorf("path %q, %v", p, ok)
	}
	f := fake{t, t.TempDir()}
	f.file("self/mountinfo", "33 29 8:1 / / rw - ext4 /dev/vda rw\n")
	if _, err := Open(f.root); err == nil || !strings.Contains(err.Error(), "mount one at /sys/fs/cgroup") {
		t.Errorf("a node without cgroups: %v", err)
	}
	for mode, mounts := range map[string]string{"v1": v1, "v2": v2, "hybrid": v2 + v1} {
		if _, n := newFake(t, mounts); n.Mode() != mode {
			t.Errorf("mode %s, want %s", n.Mode(), mode)
		}
	}
}
