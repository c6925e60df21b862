package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotFound is wrapped by the errors about what this node does not have.
var ErrNotFound = errors.New("not found on this node")

// notFound has a text of its own: what, and what to do.
type notFound struct{ message string }

func (e *notFound) Error() string { return e.message }
func (e *notFound) Unwrap() error { return ErrNotFound }

func missing(format string, args ...any) error { return &notFound{fmt.Sprintf(format, args...)} }

// Dir checks the directory of a control group. The path comes from an alert: it
// must be absolute, and after every symbolic link lie under a cgroup mount.
func (n *Node) Dir(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != strings.TrimSuffix(path, "/") && path != "/" || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("cgroup %q is not a clean absolute path; write for example /sys/fs/cgroup/system.slice/nginx.service", path)
	}
	dir, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return "", missing("cgroup %q does not exist; the cgroups of this node are below %s", path, n.places())
	}
	if err != nil {
		return "", fmt.Errorf("looking up cgroup %q: %w", path, err)
	}
	if _, ok := n.mountOf(dir); !ok {
		return "", fmt.Errorf("%q is no cgroup: it must be a directory below %s", path, n.places())
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%q is no cgroup: it is not a directory; name the directory that it is in", path)
	}
	return dir, nil
}

func (n *Node) places() string {
	var dirs []string
	for _, m := range n.mounts {
		dirs = append(dirs, m.Dir)
	}
	if len(dirs) > 3 {
		dirs = append(dirs[:3], "...")
	}
	return strings.Join(dirs, ", ")
}

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)

// Unit finds the directory of a systemd unit ("nginx" is nginx.service) by
// walking the hierarchy that systemd keeps, system.slice first: the control
// group of a unit is named for it, whatever slice it is in.
func (n *Node) Unit(unit string) (string, error) {
	if !unitName.MatchString(unit) || strings.Trim(unit, ".") == "" {
		return "", fmt.Errorf("systemd unit %q is no unit name; write for example nginx.service", unit)
	}
	if !strings.HasSuffix(unit, ".service") && !strings.HasSuffix(unit, ".scope") && !strings.HasSuffix(unit, ".slice") {
		unit += ".service"
	}
	m, ok := n.systemd()
	if !ok {
		return "", missing("systemd unit %q: no hierarchy of systemd is mounted; name its cgroup instead", unit)
	}
	for _, top := range []string{filepath.Join(m.Dir, "system.slice"), m.Dir} {
		found := find(top, maxDepth, func(dir string) bool { return filepath.Base(dir) == unit })
		if len(found) > 1 {
			return "", fmt.Errorf("systemd unit %q is there %d times: %s; name one cgroup", unit, len(found), strings.Join(found, ", "))
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return "", missing("systemd unit %q has no cgroup below %s: it does not run here", unit, m.Dir)
}

// maxDepth of a walk: nested container nodes reach about ten.
const maxDepth = 16

// find walks the directories below top and returns those that match; below a
// match it does not look.
func find(top string, depth int, match func(dir string) bool) []string {
	if depth == 0 {
		return nil
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return nil // it has just been removed, or was never there
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(top, e.Name())
		if match(dir) {
			out = append(out, dir)
			continue
		}
		out = append(out, find(dir, depth-1, match)...)
	}
	return out
}
