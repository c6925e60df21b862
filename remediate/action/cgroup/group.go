package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// group is an open cgroup directory of the cpu hierarchy. It stays the same
// group even when the path is removed and made again meanwhile.
type group struct {
	mount mount
	dir   string
	inode uint64
	root  *os.Root
}

func open(m mount, dir string) (*group, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening cgroup: %w", err)
	}
	info, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("opening cgroup %s: %w", dir, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		root.Close()
		return nil, fmt.Errorf("opening cgroup %s: this system has no inode numbers", dir)
	}
	return &group{mount: m, dir: dir, inode: stat.Ino, root: root}, nil
}

func (g *group) Close() { g.root.Close() }

// read is the group's quota. On v2 a group without the cpu controller has none.
func (g *group) read() (quota, error) {
	q, err := readQuota(g.mount.v2, g.root.ReadFile)
	if err != nil {
		return quota{}, fmt.Errorf("reading the quota of %s: %w", g.dir, err)
	}
	return q, nil
}

func readQuota(v2 bool, readFile func(string) ([]byte, error)) (quota, error) {
	if v2 {
		b, err := readFile("cpu.max")
		if errors.Is(err, fs.ErrNotExist) {
			return quota{-1, 100_000}, nil
		}
		if err != nil {
			return quota{}, err
		}
		return parseMax(string(b))
	}
	q, err := readFile("cpu.cfs_quota_us")
	if err != nil {
		return quota{}, err
	}
	p, err := readFile("cpu.cfs_period_us")
	if err != nil {
		return quota{}, err
	}
	return parseQuota(strings.TrimSpace(string(q)), strings.TrimSpace(string(p)))
}

// above lists the limits of the groups over g, nearest first, as far up as the
// mount shows.
func (g *group) above() ([]limit, error) {
	var out []limit
	for dir := g.dir; dir != g.mount.point; {
		dir = filepath.Dir(dir)
		q, err := readQuota(g.mount.v2, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
		if err != nil && dir == g.mount.point && errors.Is(err, fs.ErrNotExist) {
			break // the root group of some kernels has no quota files
		}
		if err != nil {
			return nil, fmt.Errorf("reading the quotas above %s: %w", g.dir, err)
		}
		if q.limited() {
			out = append(out, limit{dir, q})
		}
	}
	return out, nil
}

// write sets the quota and reads it back. The period stays.
func (g *group) write(q quota) error {
	file, text := "cpu.cfs_quota_us", strconv.FormatInt(q.quota, 10)
	if g.mount.v2 {
		file, text = "cpu.max", fmt.Sprintf("%d %d", q.quota, q.period)
	}
	err := g.writeFile(file, text)
	if errors.Is(err, syscall.EINVAL) && !g.mount.v2 {
		return fmt.Errorf("setting the quota of %s to %s: the kernel refuses it: on cgroup v1 a quota may not be over that of a group above, nor under that of a group below (%w)", g.dir, q, err)
	}
	if err != nil {
		return fmt.Errorf("setting the quota of %s to %s: %w", g.dir, q, err)
	}
	now, err := g.read()
	if err != nil {
		return err
	}
	if now != q {
		return fmt.Errorf("setting the quota of %s to %s: it reads back as %s", g.dir, q, now)
	}
	return nil
}

func (g *group) writeFile(name, text string) error {
	// No O_CREATE: a file that is not there is not a cgroup's.
	f, err := g.root.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text+"\n")
	return errors.Join(err, f.Close())
}
