package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// run is one run of a test binary: its folder below the cache and its cgroups,
// both of a name of their own. The folder's lock is held as long as the outer
// process lives: a folder that can be locked is a leftover.
type run struct {
	dir    string // absolute
	cgroup string // relative to each cgroup hierarchy: "/kmend-cluster-123"
	lock   *os.File
}

// newRun makes the folder and the cgroups, after removing those of runs that
// were killed.
func newRun(base string) (*run, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	all, err := lockFile(filepath.Join(base, ".lock"), true)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	sweep(base)
	dir, err := os.MkdirTemp(base, "r")
	if err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	r := &run{dir: dir, cgroup: "/kmend-cluster-" + filepath.Base(dir)}
	if r.lock, err = lockFile(filepath.Join(dir, "lock"), false); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	if err := makeCgroups(r.cgroup); err != nil {
		r.remove()
		return nil, err
	}
	return r, nil
}

// remove takes away what outlives the namespaces.
func (r *run) remove() {
	removeCgroups(r.cgroup, 10*time.Second)
	os.RemoveAll(r.dir)
	r.lock.Close()
}

// sweep removes what killed runs have left. Their processes die with the outer
// one, but not at once: what is still busy stays for the next run.
func sweep(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, "r*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		lock, err := lockFile(filepath.Join(dir, "lock"), false)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if removeCgroups("/kmend-cluster-"+filepath.Base(dir), 2*time.Second) {
			os.RemoveAll(dir)
		}
		if err == nil {
			lock.Close()
		}
	}
}

// keepLogs moves the servers' logs to where the next run does not remove them.
func (r *run) keepLogs(to string) {
	logs, err := filepath.Glob(filepath.Join(r.dir, "logs", "*"))
	if err != nil || len(logs) == 0 {
		return // the node was never started
	}
	os.RemoveAll(to)
	if err := os.Rename(filepath.Join(r.dir, "logs"), to); err == nil {
		fmt.Fprintln(os.Stderr, "cluster: the servers' logs are in", to)
	}
}
