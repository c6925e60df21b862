package threads

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

// group is a cgroup directory of the cpu controller, v1 or v2.
type group struct {
	t    *testing.T
	Path string
	v2   bool
}

func isV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// newGroup makes a cgroup below the root of the cpu controller, removed with the
// test.
func newGroup(t *testing.T) *group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
	root := "/sys/fs/cgroup/cpu"
	if isV2() {
		root = "/sys/fs/cgroup"
		enableCPU(t, root)
	}
	dir, err := os.MkdirTemp(root, "kmend-test-")
	if err != nil {
		t.Fatal(err)
	}
	g := (&group{t: t, Path: dir, v2: isV2()}).cleaned()
	// The test also means what it says on a machine that is busy with other things.
	if g.v2 {
		g.write("cpu.weight", "10000")
	} else {
		g.write("cpu.shares", "102400")
	}
	return g
}

func (g *group) child(name string) *group {
	g.t.Helper()
	if g.v2 {
		enableCPU(g.t, g.Path)
	}
	dir := filepath.Join(g.Path, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	return (&group{t: g.t, Path: dir, v2: g.v2}).cleaned()
}

// cleaned removes the directory at the end, once its last process is gone.
func (g *group) cleaned() *group {
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

func enableCPU(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// quota limits the group to a number of CPUs, in periods of 100 ms.
func (g *group) quota(cpus float64) *group {
	g.t.Helper()
	q := int(cpus * 100_000)
	if g.v2 {
		g.write("cpu.max", fmt.Sprintf("%d 100000", q))
	} else {
		g.write("cpu.cfs_period_us", "100000")
		g.write("cpu.cfs_quota_us", strconv.Itoa(q))
	}
	return g
}

func (g *group) write(file, value string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.Path, file), []byte(value), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

// throttledMS is the kernel's own account of the group, in ms.
func (g *group) throttledMS() float64 {
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

func (g *group) id() uint64 {
	g.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(g.Path, &st); err != nil {
		g.t.Fatal(err)
	}
	return st.Ino
}

func (g *group) target() Target { return Target{Cgroups: []string{g.Path}} }
