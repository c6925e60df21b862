package cgroup

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
)

// locate finds the directory of the target's group in the cpu hierarchy and
// checks that it may be acted on.
func (a *SetCPUQuota) locate(t incident.Target) (mount, string, error) {
	if t.Node != "" && !incident.SameNode(t.Node, a.opts.Node) {
		return mount{}, "", fmt.Errorf("the target is on node %q and this is %q: cgroups are changed on their own node only", t.Node, a.opts.Node)
	}
	if t.Pod != "" {
		return mount{}, "", fmt.Errorf("%s belongs to the kubelet, which would put its cgroups back; use kubernetes.resize_cpu", t)
	}
	all, err := mounts(a.opts.Proc)
	if err != nil {
		return mount{}, "", err
	}
	cpu, err := cpuMount(all)
	if err != nil {
		return mount{}, "", err
	}
	var dir string
	switch {
	case t.Cgroup != "":
		dir, err = a.ofDirectory(all, cpu, t.Cgroup)
	case t.Unit != "":
		dir, err = a.ofUnit(all, cpu, t.Unit)
	case t.PID != 0:
		dir, err = a.ofProcess(cpu, t.PID)
	default:
		err = fmt.Errorf("the target (%s) names no cgroup, unit or process", t)
	}
	if err != nil {
		return mount{}, "", err
	}
	if m, ok := mountOf(all, dir); ok {
		cpu = m // another mount of the same hierarchy, where the target's path is in
	}
	return cpu, dir, a.allowed(cpu, dir)
}

// kubelets are the names of the groups that a kubelet keeps.
var kubelets = regexp.MustCompile(`^kubepods($|\.slice$|-)`)

// allowed refuses directories that must not be written, whatever the target says.
func (a *SetCPUQuota) allowed(m mount, dir string) error {
	if !m.has("cpu") || !within(m.point, dir) {
		return fmt.Errorf("%s is not in a cgroup hierarchy with the cpu controller", dir)
	}
	if dir == m.point {
		return fmt.Errorf("%s is the root of its hierarchy: everything on the machine is in it", dir)
	}
	if slices.ContainsFunc(strings.Split(dir, "/"), kubelets.MatchString) {
		return fmt.Errorf("%s belongs to the kubelet, which would put it back; use kubernetes.resize_cpu", dir)
	}
	if len(a.opts.AllowedRoots) > 0 && !slices.ContainsFunc(a.opts.AllowedRoots, func(root string) bool { return within(root, dir) }) {
		return fmt.Errorf("%s is not below an allowed root (%s)", dir, strings.Join(a.opts.AllowedRoots, ", "))
	}
	return nil
}

// ofDirectory maps a directory of any controller's hierarchy to the group in the
// cpu hierarchy. In another hierarchy the processes in and below it say which:
// they must all be in one group, and nobody else in it.
func (a *SetCPUQuota) ofDirectory(all []mount, cpu mount, path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("cgroup %q is not an absolute path", path)
	}
	dir, err := filepath.EvalSymlinks(filepath.Clean(path)) // /sys/fs/cgroup/cpu may be a link to cpu,cpuacct
	if err != nil {
		return "", fmt.Errorf("looking up cgroup: %w", err)
	}
	m, ok := mountOf(all, dir)
	if !ok {
		return "", fmt.Errorf("%s is not below a cgroup mount", dir)
	}
	if m.has("cpu") {
		return dir, nil
	}
	return a.byProcesses(cpu, dir)
}

func (a *SetCPUQuota) byProcesses(cpu mount, dir string) (string, error) {
	pids, err := processes(dir)
	if err != nil {
		return "", err
	}
	groups := map[string]bool{}
	for pid := range pids {
		g, err := a.ofProcess(cpu, pid)
		if err != nil {
			if _, gone := os.Stat(filepath.Join(a.opts.Proc, strconv.Itoa(pid))); gone != nil {
				continue
			}
			return "", err
		}
		groups[g] = true
	}
	names := slices.Sorted(maps.Keys(groups))
	switch len(names) {
	case 0:
		return "", fmt.Errorf("%s has no processes, so its group in the cpu hierarchy is unknown", dir)
	case 1:
	default:
		return "", fmt.Errorf("the processes of %s are in %d groups of the cpu hierarchy (%s); name one of them", dir, len(names), strings.Join(names, ", "))
	}
	if names[0] == cpu.point {
		return names[0], nil // refused by allowed, with the reason
	}
	members, err := processes(names[0])
	if err != nil {
		return "", err
	}
	for pid := range members {
		if !pids[pid] {
			return "", fmt.Errorf("the processes of %s share the cpu group %s with others (pid %d); name that group if it is meant", dir, names[0], pid)
		}
	}
	return names[0], nil
}

// processes are the ids of the processes in dir and in all groups below it.
func processes(dir string) (map[int]bool, error) {
	pids := map[int]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return skipGone(path == dir, err)
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return skipGone(path == dir, err)
		}
		for field := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids[pid] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the processes of cgroup %s: %w", dir, err)
	}
	return pids, nil
}

// skipGone lets groups below the first one go away while they are walked.
func skipGone(first bool, err error) error {
	if first {
		return err
	}
	return nil
}

// ofProcess is the process's group in the cpu hierarchy.
func (a *SetCPUQuota) ofProcess(cpu mount, pid int) (string, error) {
	b, err := os.ReadFile(filepath.Join(a.opts.Proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("looking up the cgroup of pid %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		// HIERARCHY:CONTROLLERS:PATH; v2 is "0::PATH"
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if cpu.v2 && f[0] == "0" || !cpu.v2 && slices.Contains(strings.Split(f[1], ","), "cpu") {
			return cpu.dirOf(f[2])
		}
	}
	return "", fmt.Errorf("looking up the cgroup of pid %d: it is in no group with the cpu controller", pid)
}

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|scope|slice)$`)

// ofUnit finds a systemd unit's directory by its name in systemd's own hierarchy.
func (a *SetCPUQuota) ofUnit(all []mount, cpu mount, unit string) (string, error) {
	if !unitName.MatchString(unit) {
		return "", fmt.Errorf("%q is not a systemd unit with processes; write for example nginx.service", unit)
	}
	systemd := cpu
	if !cpu.v2 {
		i := slices.IndexFunc(all, func(m mount) bool { return m.has("name=systemd") })
		if i < 0 {
			return "", fmt.Errorf("looking up unit %s: systemd's cgroup hierarchy is not mounted here", unit)
		}
		systemd = all[i]
	}
	var found []string
	err := filepath.WalkDir(systemd.point, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return skipGone(path == systemd.point, err)
		}
		if d.IsDir() && d.Name() == unit {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("looking up unit %s: %w", unit, err)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("looking up unit %s: %d cgroups have that name, must be exactly one %v", unit, len(found), found)
	}
	if cpu.v2 {
		return found[0], nil
	}
	return a.byProcesses(cpu, found[0])
}
