package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a cgroup directory of the cpu controller, v1 or v2.
type Group struct {
	t    *testing.T
	Path string
	v2   bool
}

// IsV2 reports whether the machine has cgroup v2 alone.
func IsV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// top is the parent of every group of the tests. Beside whatever else the machine
// does it is heavy, so that the tests mean what they say on a busy one (but not so
// heavy that it starves the kernel's own threads, RCU among them); inside it
// all are equal, the tests themselves in "self" among them.
var top string

// enterTop makes it and moves this process into it; leave undoes both.
func enterTop() (leave func(), err error) {
	root, file, weight := "/sys/fs/cgroup/cpu", "cpu.shares", "20480"
	if IsV2() {
		root, file, weight = "/sys/fs/cgroup", "cpu.weight", "2000"
		if err := enableCPU(root); err != nil {
			return nil, err
		}
	}
	if top, err = os.MkdirTemp(root, "kmend-test-"); err != nil {
		return nil, err
	}
	self := filepath.Join(top, "self")
	pid := []byte(strconv.Itoa(os.Getpid()))
	leave = func() {
		_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), pid, 0o644)
		_ = os.Remove(self)
		_ = os.Remove(top)
	}
	return leave, errors.Join(
		os.WriteFile(filepath.Join(top, file), []byte(weight), 0o644),
		os.Mkdir(self, 0o755),
		os.WriteFile(filepath.Join(self, "cgroup.procs"), pid, 0o644),
	)
}

// NewGroup makes a cgroup of the cpu controller, removed with the test.
func NewGroup(t *testing.T) *Group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
	if IsV2() {
		if err := enableCPU(top); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(top, "group-")
	if err != nil {
		t.Fatal(err)
	}
	return (&Group{t: t, Path: dir, v2: IsV2()}).cleaned()
}

// Child makes a group below.
func (g *Group) Child(name string) *Group {
	g.t.Helper()
	if g.v2 {
		if err := enableCPU(g.Path); err != nil {
			g.t.Fatal(err)
		}
	}
	dir := filepath.Join(g.Path, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	return (&Group{t: g.t, Path: dir, v2: g.v2}).cleaned()
}

// OpenGroup is a cgroup that exists, removed with the test.
func OpenGroup(t *testing.T, dir string) *Group {
	t.Helper()
	return (&Group{t: t, Path: dir, v2: IsV2()}).cleaned()
}

// cleaned removes the directory at the end, once its last process is gone.
func (g *Group) cleaned() *Group {
	g.t.Cleanup(func() {
		for range 200 {
			err := unix.Rmdir(g.Path)
			if err == nil || errors.Is(err, unix.ENOENT) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		g.t.Errorf("cgroup %s stays: it has processes", g.Path)
	})
	return g
}

func enableCPU(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu"), 0o644)
}

// Quota limits the group to a number of CPUs, in periods of 100 ms.
func (g *Group) Quota(cpus float64) *Group {
	g.t.Helper()
	q := int(cpus * 100_000)
	if g.v2 {
		g.Write("cpu.max", fmt.Sprintf("%d 100000", q))
	} else {
		g.Write("cpu.cfs_period_us", "100000")
		g.Write("cpu.cfs_quota_us", strconv.Itoa(q))
	}
	return g
}

// Write writes one of the group's files.
func (g *Group) Write(file, value string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.Path, file), []byte(value), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

// ThrottledMS is the kernel's own account of the group, in ms.
func (g *Group) ThrottledMS() float64 {
	g.t.Helper()
	stat, err := os.ReadFile(filepath.Join(g.Path, "cpu.stat"))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(stat)) {
		var n float64
		if c, _ := fmt.Sscanf(line, "throttled_time %f", &n); c == 1 {
			return n / 1e6
		}
		if c, _ := fmt.Sscanf(line, "throttled_usec %f", &n); c == 1 {
			return n / 1e3
		}
	}
	g.t.Fatalf("%s/cpu.stat has no throttled time", g.Path)
	return 0
}

// ID is the number that the kernel knows the group by.
func (g *Group) ID() uint64 {
	g.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(g.Path, &st); err != nil {
		g.t.Fatal(err)
	}
	return st.Ino
}
