package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// tell writes the target into the kernel's tables. The programs are attached
// already and each directory is stored before it is listed, so that one made
// meanwhile is either listed or reported by cgroup_mkdir.
//
// A target of a hierarchy without a controller (systemd's named one on v1) is
// its processes and their children: the kernel has no short way from a thread to
// such a cgroup.
func (m *Members) tell(t Target) error {
	if len(t.Cgroups) == 0 && len(t.PIDs) == 0 {
		return errors.New("the target names neither a cgroup nor a process")
	}
	h, err := commonHierarchy(t.Cgroups, m.kernel)
	if err != nil {
		return err
	}
	inKernel, inherit, byProcess := h.kind, uint32(0), uint32(0)
	if h.kind == named {
		inKernel, inherit = none, 1
	}
	if len(t.PIDs) > 0 || inherit > 0 {
		byProcess = 1
	}
	err = m.objs.TheTarget.Put(uint32(0), membersTarget{
		Hierarchy: uint32(inKernel), HierarchyId: h.id, Subsys: h.subsys, ByProcess: byProcess, Inherit: inherit,
	})
	if err != nil {
		return fmt.Errorf("storing the target: %w", err)
	}
	for _, dir := range t.Cgroups {
		if err := walk(dir, func(path string, id uint64) error { return m.tellCgroup(h.kind, path, id) }); err != nil {
			return fmt.Errorf("finding the cgroups of %s: %w", dir, err)
		}
	}
	for _, pid := range t.PIDs {
		tgid, err := processOf(pid)
		if err != nil {
			return fmt.Errorf("finding process %d: %w", pid, err)
		}
		if err := m.objs.TargetProcesses.Put(tgid, uint8(1)); err != nil {
			return tooMany(err)
		}
	}
	return nil
}

func (m *Members) tellCgroup(k kind, path string, id uint64) error {
	if err := m.objs.TargetCgroups.Put(id, uint8(1)); err != nil {
		return tooMany(err)
	}
	if k != named && ownPIDNamespace() == initialPIDNamespace {
		return nil
	}
	pids, err := processesIn(path)
	if err != nil {
		return err
	}
	if slices.Contains(pids, 0) {
		return &UnsupportedError{"", "host pid namespace", "processes of " + path + " are outside of the agent's",
			"run the agent in the host's pid namespace (hostPID: true)"}
	}
	for _, pid := range pids {
		if k != named {
			break
		}
		if err := m.objs.TargetProcesses.Put(pid, uint8(1)); err != nil {
			return tooMany(err)
		}
	}
	return nil
}

func tooMany(err error) error {
	return fmt.Errorf("storing the target (raise the probes' MaxGroups if it is full): %w", err)
}

func commonHierarchy(dirs []string, kernel *btf.Spec) (hierarchy, error) {
	var common hierarchy
	for i, dir := range dirs {
		h, err := hierarchyOf(dir, kernel)
		if err != nil {
			return h, fmt.Errorf("finding the hierarchy of cgroup %s: %w", dir, err)
		}
		if i > 0 && h != common {
			return h, fmt.Errorf("cgroup %s is in another hierarchy than %s; name directories of one", dir, dirs[0])
		}
		common = h
	}
	return common, nil
}

// walk calls found with dir and every directory below it, and its inode. One that
// vanishes meanwhile has no threads left.
func walk(dir string, found func(path string, inode uint64) error) error {
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	gone := func(path string, err error) bool { return path != top && errors.Is(err, fs.ErrNotExist) }
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return nil
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Stat(path, &st)
		}
		if err == nil {
			err = found(path, st.Ino)
		}
		if gone(path, err) {
			return fs.SkipDir
		}
		return err
	})
}

func processesIn(dir string) ([]uint32, error) {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a threaded cgroup: its processes are listed above it
	}
	if err != nil {
		return nil, err
	}
	var pids []uint32
	for pid := range strings.FieldsSeq(string(procs)) {
		n, err := strconv.ParseUint(pid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading %s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, uint32(n))
	}
	return pids, nil
}

// processOf checks that pid lives and gives its thread group.
func processOf(pid int) (uint32, error) {
	if ownPIDNamespace() != initialPIDNamespace {
		return 0, &UnsupportedError{"", "host pid namespace", "a process id means nothing in the agent's own",
			"run the agent in the host's pid namespace (hostPID: true), or name a cgroup"}
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("there is no such process: %w", fs.ErrNotExist)
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var tgid uint32
		if n, _ := fmt.Sscanf(line, "Tgid: %d", &tgid); n == 1 {
			return tgid, nil
		}
	}
	return 0, errors.New("its status has no Tgid")
}

// initialPIDNamespace is PROC_PID_INIT_INO of include/linux/proc_ns.h.
const initialPIDNamespace = "pid:[4026531836]"

func ownPIDNamespace() string {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return ns
}
