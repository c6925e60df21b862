package cgroup

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mount is one mounted cgroup hierarchy.
type mount struct {
	point       string   // where it is mounted
	root        string   // which group of the hierarchy is at point: "/" unless this is a container's view
	v2          bool     // the unified hierarchy
	controllers []string // v1: the super options, "cpu", "name=systemd", ... among them; v2: cgroup.controllers
}

func (m mount) has(controller string) bool { return slices.Contains(m.controllers, controller) }

// mounts lists the cgroup mounts in PROC/self/mountinfo, see proc_pid_mountinfo(5).
func mounts(proc string) ([]mount, error) {
	path := filepath.Join(proc, "self/mountinfo")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("listing cgroup mounts: %w", err)
	}
	defer f.Close()
	var out []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			out = append(out, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("listing cgroup mounts: %w", err)
	}
	return out, nil
}

// parseMount reads "31 23 0:28 ROOT POINT OPTIONS [optional...] - TYPE SOURCE SUPEROPTIONS".
func parseMount(line string) (m mount, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	if !ok || len(left) < 6 || len(right) < 3 {
		return mount{}, false
	}
	m.root, m.point = unescape(left[3]), unescape(left[4])
	switch right[0] {
	case "cgroup":
		m.controllers = strings.Split(right[2], ",")
	case "cgroup2":
		m.v2 = true
		b, _ := os.ReadFile(filepath.Join(m.point, "cgroup.controllers")) // absent: it has none
		m.controllers = strings.Fields(string(b))
	default:
		return mount{}, false
	}
	return m, true
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// cpuMount picks the hierarchy that has the cpu controller: a controller is
// either in a v1 hierarchy or in the unified one. Of several mounts of it the
// one that shows most of it.
func cpuMount(all []mount) (mount, error) {
	var found []mount
	for _, m := range all {
		if m.has("cpu") {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return mount{}, fmt.Errorf("no cgroup hierarchy with the cpu controller is mounted here")
	}
	return slices.MinFunc(found, func(a, b mount) int { return len(a.root) - len(b.root) }), nil
}

// mountOf is the mount that holds dir: the innermost.
func mountOf(all []mount, dir string) (m mount, ok bool) {
	for _, c := range all {
		if within(c.point, dir) && (!ok || len(c.point) >= len(m.point)) {
			m, ok = c, true
		}
	}
	return m, ok
}

// within reports whether dir is root or below it; both are clean and absolute.
func within(root, dir string) bool {
	return dir == root || root == "/" || strings.HasPrefix(dir, root+"/")
}

// dirOf is the directory of a group that procfs names by its path in the hierarchy.
func (m mount) dirOf(group string) (string, error) {
	group = strings.TrimSuffix(group, " (deleted)")
	if !filepath.IsAbs(group) || strings.HasPrefix(group, "/..") || !within(m.root, filepath.Clean(group)) {
		return "", fmt.Errorf("cgroup %s is outside the mount at %s, which shows %s and below", group, m.point, m.root)
	}
	return filepath.Join(m.point, strings.TrimPrefix(filepath.Clean(group), strings.TrimSuffix(m.root, "/"))), nil
}
