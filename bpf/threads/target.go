package threads

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// members is a Target as the kernel knows it.
type members struct {
	hierarchy hierarchy
	cgroups   []uint64 // kernfs ids in that hierarchy
	processes []uint32
	inherit   bool // children of processes join: they stand for cgroups
}

// resolve enumerates t's directories. A target of a hierarchy without a
// controller (systemd's named one on v1) is its processes and their children:
// the kernel has no short way from a thread to such a cgroup.
func resolve(t Target, kernel *btf.Spec) (members, error) {
	var m members
	if len(t.Cgroups) == 0 && len(t.PIDs) == 0 {
		return m, errors.New("resolving the target: it names neither a cgroup nor a process")
	}
	for i, dir := range t.Cgroups {
		h, err := hierarchyOf(dir, kernel)
		if err != nil {
			return m, fmt.Errorf("resolving cgroup %s: %w", dir, err)
		}
		if i > 0 && h != m.hierarchy {
			return m, fmt.Errorf("resolving cgroup %s: it is in another hierarchy than %s; name directories of one", dir, t.Cgroups[0])
		}
		m.hierarchy = h
		if err := m.addTree(dir); err != nil {
			return m, fmt.Errorf("resolving cgroup %s: %w", dir, err)
		}
	}
	if m.hierarchy.kind == named {
		m.hierarchy.kind, m.inherit = none, true
	}
	for _, pid := range t.PIDs {
		tgid, err := processOf(pid)
		if err != nil {
			return m, fmt.Errorf("resolving process %d: %w", pid, err)
		}
		m.processes = append(m.processes, tgid)
	}
	return m, nil
}

// addTree adds dir and every directory below it. Those that vanish meanwhile
// have no threads left.
func (m *members) addTree(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			if path != dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		m.cgroups = append(m.cgroups, st.Ino)
		if m.hierarchy.kind == named {
			return m.addProcesses(path)
		}
		return nil
	})
}

func (m *members) addProcesses(dir string) error {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		n, err := strconv.ParseUint(pid, 10, 32)
		if err != nil {
			return fmt.Errorf("reading %s/cgroup.procs: %w", dir, err)
		}
		m.processes = append(m.processes, uint32(n))
	}
	return nil
}

// processOf checks that pid lives and gives its thread group.
func processOf(pid int) (uint32, error) {
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != initialPIDNamespace {
		return 0, errors.New("process ids need the host's pid namespace; run the agent with hostPID: true, or name a cgroup")
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
