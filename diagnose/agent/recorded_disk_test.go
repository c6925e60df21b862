package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

// Of ioctl_fsfreeze(2), include/uapi/linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// loopDisk is a file system of its own on a loop device, whose image is in dir.
func loopDisk(t *testing.T, dir string, bytes int64) (mount string) {
	t.Helper()
	run := func(args ...string) string {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	image, mount := filepath.Join(dir, "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, bytes); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-F", image)
	dev := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { run("losetup", "--detach", dev) })
	run("mount", dev, mount)
	t.Cleanup(func() { run("umount", mount) })
	return mount
}

// halting freezes a file system again and again, for 50 ms each: what is written to
// it waits. It is thawed when the function returned has returned.
func halting(t *testing.T, dir string) (stop func()) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
				t.Errorf("freezing %s: %v", dir, err)
				return
			}
			time.Sleep(50 * time.Millisecond)
			if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil {
				t.Errorf("thawing %s: %v", dir, err)
				return
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		_ = f.Close()
	}
}

// A disk takes its time for three seconds and is quick again; asked later, that is
// confirmed, with the requests that were recorded. Its image is in a file system
// that is halted again and again.
func TestRecordedSlowDisk(t *testing.T) {
	l := newLab(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs loop devices, which are a module in the VMs' kernels; it runs in `make test`")
	}
	for _, tool := range []string{"mkfs.ext4", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: e2fsprogs, mount); it runs in `make test`", tool)
		}
	}
	below := loopDisk(t, t.TempDir(), 192<<20)
	disk := loopDisk(t, below, 64<<20)
	dir := l.group("target", targetWeight, 0)
	a := l.record()
	time.Sleep(1200 * time.Millisecond)
	stop := halting(t, below)
	since := time.Now()
	state, err := l.load([]string{dir}, "-mode", "io", "-threads", "2", "-dir", disk, "-duration", "3s").Wait()
	until := time.Now()
	stop()
	if err != nil || !state.Success() {
		t.Fatalf("workload: %v, %v", state, err)
	}
	time.Sleep(4500 * time.Millisecond)

	m, d := l.past(a, dir, since, until)
	f, ok := d.Finding(incident.DiskLatency)
	if !ok || d.Verdict != incident.Confirmed || !f.Recorded {
		t.Fatalf("%s %+v; want disk.latency, recorded", d.Verdict, d.Findings)
	}
	// Each of two threads has one request at a time, and waits for nothing else.
	requests, took := evidence(m, "recorder", "block_requests", ""), evidence(m, "recorder", "block_time", "")
	if length := ms(until.Sub(since)); requests < 10 || took > 2*length || took < 0.3*m.Ledger.States[incident.IO] {
		t.Errorf("%v requests took %v ms of %v; blocked on I/O %v ms", requests, took, length, m.Ledger.States[incident.IO])
	}

	_, d = l.past(a, dir, until.Add(1200*time.Millisecond), time.Now())
	if _, ok := d.Finding(incident.DiskLatency); ok {
		t.Errorf("afterwards %+v", d.Findings)
	}
}
