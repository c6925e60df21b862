package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is the cgroup file systems of this machine: where the controllers
// that the lab uses are mounted, and whether that is one tree (v2).
type hierarchy struct {
	v2   bool
	dirs map[string]string // controller -> mount point; on v2 the same for all
}

var controllers = []string{"cpu", "memory", "blkio"}

func findHierarchy() (hierarchy, error) {
	h := hierarchy{dirs: map[string]string{}}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return h, fmt.Errorf("looking for the cgroup controllers: %w", err)
	}
	defer f.Close()
	unified := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(super) < 3 {
			continue
		}
		switch super[0] {
		case "cgroup2":
			b, err := os.ReadFile(filepath.Join(fields[4], "cgroup.controllers"))
			if err == nil && slices.Contains(strings.Fields(string(b)), "cpu") {
				unified = fields[4]
			}
		case "cgroup":
			for _, c := range controllers {
				if slices.Contains(strings.Split(super[2], ","), c) {
					h.dirs[c] = fields[4]
				}
			}
		}
	}
	if unified != "" {
		h.v2 = true
		for _, c := range controllers {
			h.dirs[c] = unified
		}
	}
	for _, c := range controllers {
		if h.dirs[c] == "" {
			return h, fmt.Errorf("looking for the cgroup controllers: %s is not mounted", c)
		}
	}
	return h, nil
}

// trees are the distinct mount points.
func (h hierarchy) trees() []string {
	var out []string
	for _, c := range controllers {
		if !slices.Contains(out, h.dirs[c]) {
			out = append(out, h.dirs[c])
		}
	}
	return out
}

// make makes the group PATH (from the root of each tree) in every tree.
func (h hierarchy) make(path string) error {
	for _, tree := range h.trees() {
		dir := filepath.Join(tree, path)
		if h.v2 { // the group above hands the controllers down
			if err := write(filepath.Dir(dir), "cgroup.subtree_control", "+cpu +memory +io"); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("making a cgroup: %w", err)
		}
	}
	return nil
}

// remove ends what runs in the group and removes it from every tree.
func (h hierarchy) remove(path string) error {
	var errs []error
	for _, tree := range h.trees() {
		dir := filepath.Join(tree, path)
		var err error
		for range 500 {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				err = nil
				break
			}
			for _, pid := range pidsIn(dir) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing a cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}

func pidsIn(dir string) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func write(dir, file, value string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", value, err)
	}
	return nil
}
