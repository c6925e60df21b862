package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// unified reports whether the machine has cgroup v2 alone; else the
// controllers are hierarchies of v1, as the kubelet sees it too.
func unified() bool {
	var fs unix.Statfs_t
	return unix.Statfs(cgroupMount, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies are the folders in which the node needs its cgroup: one with v2,
// one for each controller with v1.
func hierarchies() []string {
	if unified() {
		return []string{cgroupMount}
	}
	var out []string
	// "unified" is the v2 hierarchy without controllers beside v1's: runc uses it too.
	for _, c := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "perf_event", "systemd", "unified"} {
		dir := filepath.Join(cgroupMount, c)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && !slices.ContainsFunc(out, func(d string) bool { return sameFile(d, dir) }) {
			out = append(out, dir) // "cpu" and "cpuacct" are often two names of one
		}
	}
	if !slices.Contains(out, cgroupMount+"/cpu") {
		return nil
	}
	return out
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// makeCgroups makes the cgroup in every hierarchy. With v2 the controllers are
// handed down to it and, since the kubelet checks that, to its children.
func makeCgroups(name string) error {
	for _, h := range hierarchies() {
		dir := filepath.Join(h, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the node's cgroup: %w", err)
		}
		if unified() {
			for _, d := range []string{h, dir} {
				if err := handDown(d); err != nil {
					return fmt.Errorf("handing controllers down to the node's cgroup: %w", err)
				}
			}
		}
		if err := prefer(dir); err != nil {
			return fmt.Errorf("giving the node's cgroup its weight: %w", err)
		}
	}
	return nil
}

// prefer gives the cgroup's pods the CPU before whatever else runs on this
// machine: a pod that gets too little of it does not reach its limit, and tests
// of throttling would depend on what else goes on.
func prefer(dir string) error {
	for file, most := range map[string]string{"cpu.shares": "262144", "cpu.weight": "10000"} {
		path := filepath.Join(dir, file)
		if _, err := os.Stat(path); err != nil {
			continue // another version, another controller
		}
		if err := os.WriteFile(path, []byte(most), 0); err != nil {
			return err
		}
	}
	return nil
}

// handDown enables in dir's children every controller that dir has and a kubelet uses.
func handDown(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		if !slices.Contains([]string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"}, c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups removes the cgroup with all below it from every hierarchy, and
// reports whether it is gone. Groups stay busy for some ms after their last
// process, so it tries until patience ends.
func removeCgroups(name string, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		gone := true
		for _, h := range hierarchies() {
			if !removeTree(filepath.Join(h, name)) {
				gone = false
			}
		}
		if gone || time.Now().After(deadline) {
			return gone
		}
	}
}

// removeTree removes a cgroup folder, deepest first: only rmdir works there.
func removeTree(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			removeTree(filepath.Join(dir, e.Name()))
		}
	}
	err = unix.Rmdir(dir)
	return err == nil || errors.Is(err, unix.ENOENT)
}
