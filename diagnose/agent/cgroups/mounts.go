package cgroups

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Mount is one mounted hierarchy.
type Mount struct {
	Dir         string   // where it is mounted
	Root        string   // the path that is mounted there, "/" unless a part is
	V2          bool     // the unified hierarchy
	Controllers []string // of a v1 hierarchy: controllers and "name=systemd"
}

// Node is the node's hierarchies.
type Node struct {
	proc   string
	mounts []Mount
}

// Open reads the hierarchies mounted here; proc is usually "/proc".
func Open(proc string) (*Node, error) {
	file := filepath.Join(proc, "self/mountinfo")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	n := &Node{proc: proc}
	for line := range strings.Lines(string(b)) {
		if m, ok := parseMount(line); ok {
			n.mounts = append(n.mounts, m)
		}
	}
	if len(n.mounts) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy in %s: mount one at /sys/fs/cgroup", file)
	}
	// Whole hierarchies first: a bind mount of a part of one hides the rest.
	slices.SortStableFunc(n.mounts, func(a, b Mount) int { return len(a.Root) - len(b.Root) })
	return n, nil
}

// parseMount reads a line of proc_pid_mountinfo(5).
func parseMount(line string) (Mount, bool) {
	before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 5 || len(g) < 3 {
		return Mount{}, false
	}
	m := Mount{Root: unescape(f[3]), Dir: unescape(f[4])}
	switch g[0] {
	case "cgroup2":
		m.V2 = true
		return m, true
	case "cgroup":
		for _, o := range strings.Split(g[2], ",") {
			if o != "rw" && o != "ro" {
				m.Controllers = append(m.Controllers, o)
			}
		}
		return m, true
	}
	return Mount{}, false
}

// unescape undoes the kernel's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Mode is "v1", "v2", or "hybrid": v2 beside v1 hierarchies.
func (n *Node) Mode() string {
	v1 := slices.ContainsFunc(n.mounts, func(m Mount) bool { return !m.V2 })
	v2 := slices.ContainsFunc(n.mounts, func(m Mount) bool { return m.V2 })
	switch {
	case v1 && v2:
		return "hybrid"
	case v2:
		return "v2"
	}
	return "v1"
}

// CPU is the hierarchy whose groups the scheduler divides the CPUs among: that
// of the v1 cpu controller where it is mounted, else the unified one.
func (n *Node) CPU() (Mount, bool) { return n.hierarchy("cpu") }

// systemd is the hierarchy in which systemd keeps its units.
func (n *Node) systemd() (Mount, bool) { return n.hierarchy("name=systemd") }

func (n *Node) hierarchy(controller string) (Mount, bool) {
	for _, m := range n.mounts {
		if slices.Contains(m.Controllers, controller) {
			return m, true
		}
	}
	for _, m := range n.mounts {
		if m.V2 {
			return m, true
		}
	}
	return Mount{}, false
}

// dir is the directory of a path, if it is under what is mounted.
func (m Mount) dir(path string) (string, bool) {
	if m.Root == "/" {
		return filepath.Join(m.Dir, path), true
	}
	rest, ok := strings.CutPrefix(path, m.Root)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return filepath.Join(m.Dir, rest), true
}

// Path is the path of a directory in its hierarchy; ok is false if it is not below m.
func (m Mount) Path(dir string) (string, bool) {
	rest, ok := strings.CutPrefix(dir, m.Dir)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return filepath.Join(m.Root, rest), true
}

// mountOf is the hierarchy that a cleaned directory lies in.
func (n *Node) mountOf(dir string) (Mount, bool) {
	var best Mount
	for _, m := range n.mounts {
		if _, ok := m.Path(dir); ok && len(m.Dir) > len(best.Dir) {
			best = m
		}
	}
	return best, best.Dir != ""
}
