package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A run that was killed is swept by the next one, and one that is alive is not.
func TestSweepRemovesOnlyTheDead(t *testing.T) {
	if err := supported(); err != nil {
		t.Skip(err)
	}
	base := t.TempDir()
	killed, err := newRun(base)
	if err != nil {
		t.Fatal(err)
	}
	defer killed.remove()
	alive, err := newRun(base)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.remove()
	for _, h := range hierarchies() { // as a container's cgroup would be
		if err := os.MkdirAll(filepath.Join(h, killed.cgroup, "kubepods", "pod1"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	killed.lock.Close() // what the kernel does to a process that is killed
	next, err := newRun(base)
	if err != nil {
		t.Fatal(err)
	}
	defer next.remove()
	for _, h := range hierarchies() {
		if exists(filepath.Join(h, killed.cgroup)) {
			t.Errorf("%s: the killed run's cgroup is still there", h)
		}
		for _, r := range []*run{alive, next} {
			if !exists(filepath.Join(h, r.cgroup)) {
				t.Errorf("%s: the cgroup of a run that is alive is gone", h)
			}
		}
	}
	if exists(killed.dir) || !exists(alive.dir) {
		t.Errorf("folders: killed run's there %v, living run's there %v", exists(killed.dir), exists(alive.dir))
	}
}

func TestRemoveCgroupsSaysWhatIsBusy(t *testing.T) {
	if err := supported(); err != nil {
		t.Skip(err)
	}
	r, err := newRun(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.remove()
	cmd := sleeper(t)
	procs := filepath.Join(hierarchies()[0], r.cgroup, "child")
	if err := os.Mkdir(procs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(procs, "cgroup.procs"), []byte(itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if removeCgroups(r.cgroup, 100*time.Millisecond) {
		t.Error("says that a cgroup with a process in it is gone")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !removeCgroups(r.cgroup, 5*time.Second) {
		t.Error("an empty cgroup is not gone after 5 s")
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
