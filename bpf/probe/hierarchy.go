package probe

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kind is enum HIERARCHY_* of bpf/include/target.h; named never reaches the kernel.
type kind uint32

const (
	none kind = iota
	v2
	v1
	named // a v1 hierarchy without a controller
)

// hierarchy is where a cgroup directory is.
type hierarchy struct {
	kind   kind
	id     uint32 // as in /proc/cgroups; 0 for v2
	subsys uint32 // of v1: enum cgroup_subsys_id of its first controller in this kernel
}

var errNotCgroup = errors.New("it is not a cgroup directory; on this machine they are mounted below /sys/fs/cgroup")

func hierarchyOf(dir string, kernel *btf.Spec) (hierarchy, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return hierarchy{}, fmt.Errorf("%w; name an existing cgroup directory", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return hierarchy{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return hierarchy{}, errNotCgroup
	}
	switch fs.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return hierarchy{kind: v2}, nil
	case unix.CGROUP_SUPER_MAGIC:
		options, err := superOptions(st.Dev)
		if err != nil {
			return hierarchy{}, err
		}
		return v1Hierarchy(options, kernel)
	}
	return hierarchy{}, errNotCgroup
}

// superOptions finds the mount by its device: bind mounts and renamed mount
// points give the same answer.
func superOptions(dev uint64) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	want := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 6 && f[2] == want {
			return f[len(f)-1], nil
		}
	}
	return "", errors.New("its hierarchy is not in /proc/self/mountinfo")
}

// v1Hierarchy matches a mount's options with a line of /proc/self/cgroup, which
// has the hierarchy's id and controllers.
func v1Hierarchy(options string, kernel *btf.Spec) (hierarchy, error) {
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return hierarchy{}, err
	}
	has := map[string]bool{}
	for o := range strings.SplitSeq(options, ",") {
		has[o] = true
	}
	for line := range strings.Lines(string(lines)) {
		id, rest, _ := strings.Cut(line, ":")
		controllers, _, _ := strings.Cut(rest, ":")
		first, _, _ := strings.Cut(controllers, ",")
		if first == "" || !has[first] {
			continue
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return hierarchy{}, fmt.Errorf("reading /proc/self/cgroup: %w", err)
		}
		if strings.HasPrefix(first, "name=") {
			return hierarchy{kind: named, id: uint32(n)}, nil
		}
		subsys, err := subsysID(first, kernel)
		return hierarchy{kind: v1, id: uint32(n), subsys: subsys}, err
	}
	return hierarchy{}, fmt.Errorf("its hierarchy (%s) is not in /proc/self/cgroup", options)
}

// subsysID looks a controller up in the kernel's enum: its values depend on the
// kernel's configuration.
func subsysID(controller string, kernel *btf.Spec) (uint32, error) {
	if controller == "blkio" {
		controller = "io" // its name inside the kernel
	}
	var ids *btf.Enum
	if err := kernel.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return 0, fmt.Errorf("finding the kernel's cgroup controllers: %w", err)
	}
	for _, v := range ids.Values {
		if v.Name == controller+"_cgrp_id" {
			return uint32(v.Value), nil
		}
	}
	return 0, fmt.Errorf("its controller %s is not one of the kernel's", controller)
}
