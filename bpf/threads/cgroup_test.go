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

// top is the parent of every group of the tests. Beside whatever else the machine
// does it is heavy, so that the tests mean what they say on a busy one (but not so
// heavy that it starves the kernel's own threads, RCU among them); inside it
// all are equal, the tests themselves in "self" among them.
var top string

// enterTop makes it and moves this process into it; leave undoes both.
func enterTop() (leave func(), err error) {
	root, file, weight := "/sys/fs/cgroup/cpu", "cpu.shares", "20480"
	if isV2() {
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

// newGroup makes a cgroup of the cpu controller, removed with the test.
func newGroup(t *testing.T) *group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
	if isV2() {
		if err := enableCPU(top); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(top, "group-")
	if err != nil {
		t.Fatal(err)
	}
	return (&group{t: t, Path: dir, v2: isV2()}).cleaned()
}

func (g *group) child(name string) *group {
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

func enableCPU(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu"), 0o644)
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

// watch samples throttledMS until stopped. The kernel adds a throttle up when it
// ends, one period later at most, so what it says about a stretch of time lies
// between two bounds.
func (g *group) watch() (stop func(from, to time.Time) (least, most float64)) {
	const period = 100 * time.Millisecond
	type sample struct {
		at time.Time
		ms float64
	}
	var samples []sample
	end, ended := make(chan time.Time, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for until := time.Now().Add(time.Hour); ; {
			s := sample{time.Now(), g.throttledMS()}
			if samples = append(samples, s); s.at.After(until) {
				return
			}
			select {
			case to := <-end:
				until = to.Add(period + 20*time.Millisecond)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func(from, to time.Time) (least, most float64) {
		end <- to
		<-ended
		first, last := samples[0].ms, samples[len(samples)-1].ms
		after, before := last, first // the sample next to from, and next to to, inside
		for i := len(samples) - 1; i >= 0 && !samples[i].at.Before(from); i-- {
			after = samples[i].ms
		}
		for _, s := range samples {
			if s.at.Before(from) {
				first = s.ms
			}
			if s.at.Before(to) {
				before = s.ms
			}
			if s.at.After(to.Add(period)) {
				last = s.ms
				break
			}
		}
		return max(0, before-after-millis(period)), last - first
	}
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
