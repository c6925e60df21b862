package memory

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// bench is a probe and whom it measures.
type bench struct {
	t       *testing.T
	probe   *Probe
	members *probe.Members
}

var shared = sync.OnceValues(func() (b bench, err error) {
	if b.members, err = probe.NewMembers(1024); err != nil {
		return b, err
	}
	b.probe, err = Load(b.members)
	return b, err
})

func loaded(t *testing.T) bench {
	t.Helper()
	rig.Root(t)
	b, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	b.t = t
	return b
}

// measure is one window of a target, in which nothing may be lost.
func (b bench) measure(target probe.Target, window time.Duration) Result {
	b.t.Helper()
	if err := b.members.Set(target); err != nil {
		b.t.Fatal(err)
	}
	defer b.members.Clear()
	r, err := b.probe.Measure(b.t.Context(), window)
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Lost != 0 {
		b.t.Errorf("lost %d", r.Lost)
	}
	return r
}

// opened waits until the window of another goroutine is open.
func (b bench) opened() {
	for {
		var end uint64
		if err := b.probe.objs.WindowEnd.Get(&end); err != nil {
			b.t.Error(err)
			return
		}
		if now, err := probe.Monotonic(); err == nil && end != math.MaxUint64 && end > uint64(now) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// group is a cgroup of the memory controller.
type group struct {
	*rig.Group
	t  *testing.T
	v2 bool
}

func newGroup(t *testing.T) group {
	t.Helper()
	rig.Root(t)
	if rig.IsV2() {
		g := group{rig.NewGroup(t), t, true}
		if err := os.WriteFile(filepath.Join(filepath.Dir(g.Path), "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
			t.Fatal(err)
		}
		return g
	}
	dir, err := os.MkdirTemp("/sys/fs/cgroup/memory", "kmend-test-")
	if err != nil {
		t.Fatal(err)
	}
	return group{rig.OpenGroup(t, dir), t, false}
}

// limit is the most that the group may have, in MB.
func (g group) limit(mb int) {
	g.t.Helper()
	file := "memory.limit_in_bytes"
	if g.v2 {
		file = "memory.max"
	}
	g.Write(file, strconv.Itoa(mb<<20))
}

// pagesIn is how many pages of files a process has had read and has written.
func pagesIn(t *testing.T, pid int) (pages uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if key == "read_bytes" || key == "write_bytes" {
			pages += n / uint64(os.Getpagesize())
		}
	}
	return pages
}

func (g group) inode() uint64 {
	var st unix.Stat_t
	if err := unix.Stat(g.Path, &st); err != nil {
		g.t.Fatal(err)
	}
	return st.Ino
}
