package disk

import (
	"fmt"
	"math"
	"os"
	"os/exec"
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

var shared = sync.OnceValues(func() (bench, error) { return open(DefaultOptions()) })

func open(o Options) (b bench, err error) {
	if b.members, err = probe.NewMembers(1024); err != nil {
		return b, err
	}
	b.probe, err = Load(o, b.members)
	return b, err
}

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
func (b bench) measure(target probe.Target, ioGroups []uint64, window time.Duration) Result {
	b.t.Helper()
	r, err := b.window(target, ioGroups, window)
	if err != nil {
		b.t.Fatal(err)
	}
	if r.Lost != 0 {
		b.t.Errorf("lost %d", r.Lost)
	}
	return r
}

func (b bench) window(target probe.Target, ioGroups []uint64, window time.Duration) (Result, error) {
	if err := b.members.Set(target); err != nil {
		return Result{}, err
	}
	defer b.members.Clear()
	return b.probe.Measure(b.t.Context(), ioGroups, window)
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

// loop is an ext4 file system of its own on a loop device: nobody else is on it,
// so the device's own count is a witness.
type loop struct {
	t      *testing.T
	Dir    string
	Device Device
	name   string
}

func newLoop(t *testing.T) loop {
	t.Helper()
	rig.Root(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs loop devices, which are a module in the VMs' kernels; it runs in `make test`")
	}
	for _, tool := range []string{"mkfs.ext4", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: e2fsprogs, mount); it runs in `make test`", tool)
		}
	}
	image := filepath.Join(onDisk(t), "image")
	mnt := t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", image)
	dev := strings.TrimSpace(run(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { run(t, "losetup", "--detach", dev) })
	run(t, "mount", dev, mnt)
	t.Cleanup(func() { run(t, "umount", mnt) })
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	l := loop{t, mnt, Device{unix.Major(st.Rdev), unix.Minor(st.Rdev)}, filepath.Base(dev)}
	l.sync()
	return l
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args, err, out)
	}
	return string(out)
}

func (l loop) sync() {
	f, err := os.Open(l.Dir)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		l.t.Fatal(err)
	}
}

// account is the kernel's own of a device, Documentation/block/stat.rst.
type account struct{ ios, bytes, ms float64 }

func (l loop) account() (a account) {
	l.t.Helper()
	b, err := os.ReadFile("/sys/block/" + l.name + "/stat")
	if err != nil {
		l.t.Fatal(err)
	}
	f := strings.Fields(string(b))
	for _, base := range []int{0, 4} { // reads and writes: I/Os, merges, sectors, ms
		n := func(i int) float64 { v, _ := strconv.ParseFloat(f[base+i], 64); return v }
		a.ios += n(0)
		a.bytes += 512 * n(2)
		a.ms += n(3)
	}
	return a
}

// onDisk is a directory on a disk.
func onDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		t.Skip("needs a temporary directory on a disk; it runs in `make test` and not in test/kernels")
	}
	return dir
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// of adds up the shares of some owners on a device.
func (r Result) of(d Device, owners ...Owner) (sum Share) {
	for _, s := range r.Shares {
		for _, o := range owners {
			if s.Device != d || s.Owner != o {
				continue
			}
			sum.Reads += s.Reads
			sum.Writes += s.Writes
			sum.Flushes += s.Flushes
			sum.Others += s.Others
			sum.Bytes += s.Bytes
			sum.Queue = sum.Queue.Plus(s.Queue)
			sum.Service = sum.Service.Plus(s.Service)
			sum.Longest = max(sum.Longest, s.Longest)
		}
	}
	return sum
}

func (s Share) String() string {
	return fmt.Sprintf("%d reads, %d writes, %d flushes, %d others, %d bytes, queue %.1f ms, service %.1f ms, longest %.2f ms",
		s.Reads, s.Writes, s.Flushes, s.Others, s.Bytes, ms(s.Queue.Total), ms(s.Service.Total), ms(s.Longest))
}
