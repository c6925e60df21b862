package throttled

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroup is a directory of the cpu controller, on cgroup v1 or v2.
type Cgroup struct {
	Path string
	v2   bool
}

const period = 100 * time.Millisecond

// NewCgroup makes an empty cgroup directly below the root of the cpu
// controller's hierarchy. Close removes it.
func NewCgroup(name string) (*Cgroup, error) {
	root, v2, err := cpuRoot()
	if err != nil {
		return nil, err
	}
	if v2 {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
			return nil, fmt.Errorf("enabling the cpu controller: %w", err)
		}
	}
	c := &Cgroup{Path: filepath.Join(root, name), v2: v2}
	if err := os.Mkdir(c.Path, 0o755); err != nil {
		return nil, fmt.Errorf("making a cgroup: %w", err)
	}
	return c, nil
}

// Root is the root of the cpu controller's hierarchy.
func Root() (string, error) {
	root, _, err := cpuRoot()
	return root, err
}

// cpuRoot finds where the cpu controller is mounted.
func cpuRoot() (path string, v2 bool, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", false, fmt.Errorf("looking for the cpu controller: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(super) < 3 {
			continue
		}
		switch mount := fields[4]; super[0] {
		case "cgroup":
			if contains(super[2], ",", "cpu") {
				return mount, false, nil
			}
		case "cgroup2":
			b, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
			if err == nil && contains(string(b), " ", "cpu") {
				path, v2 = mount, true
			}
		}
	}
	if path == "" {
		return "", false, errors.New("looking for the cpu controller: no cgroup v1 or v2 hierarchy in /proc/self/mountinfo has it")
	}
	return path, v2, nil
}

func contains(list, sep, word string) bool {
	for w := range strings.SplitSeq(strings.TrimSpace(list), sep) {
		if w == word {
			return true
		}
	}
	return false
}

// SetQuota limits the group to cpus CPUs (0.3: 30 ms of each 100 ms); 0 takes the limit away.
func (c *Cgroup) SetQuota(cpus float64) error {
	us := "-1"
	if cpus > 0 {
		us = strconv.FormatInt(int64(cpus*float64(period.Microseconds())), 10)
	}
	if c.v2 {
		if us == "-1" {
			us = "max"
		}
		return c.write("cpu.max", fmt.Sprintf("%s %d", us, period.Microseconds()))
	}
	if err := c.write("cpu.cfs_period_us", strconv.FormatInt(period.Microseconds(), 10)); err != nil {
		return err
	}
	return c.write("cpu.cfs_quota_us", us)
}

// First gives the group the greatest weight there is: what else runs on the
// machine hardly takes CPU time from it.
func (c *Cgroup) First() error {
	if c.v2 {
		return c.write("cpu.weight", "10000")
	}
	return c.write("cpu.shares", "262144")
}

// Quota is the limit in CPUs that the kernel has now; 0 when there is none.
func (c *Cgroup) Quota() (float64, error) {
	var quota, per string
	if c.v2 {
		b, err := os.ReadFile(filepath.Join(c.Path, "cpu.max"))
		if err != nil {
			return 0, fmt.Errorf("reading the quota: %w", err)
		}
		quota, per, _ = strings.Cut(strings.TrimSpace(string(b)), " ")
	} else {
		q, err1 := os.ReadFile(filepath.Join(c.Path, "cpu.cfs_quota_us"))
		p, err2 := os.ReadFile(filepath.Join(c.Path, "cpu.cfs_period_us"))
		if err := errors.Join(err1, err2); err != nil {
			return 0, fmt.Errorf("reading the quota: %w", err)
		}
		quota, per = strings.TrimSpace(string(q)), strings.TrimSpace(string(p))
	}
	if quota == "max" || quota == "-1" {
		return 0, nil
	}
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(per, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("reading the quota: %w", err)
	}
	return q / p, nil
}

// Stat is the kernel's own account of throttling: cpu.stat, since the group was made.
type Stat struct {
	Periods   int64         // nr_periods
	Throttled int64         // nr_throttled: periods in which the quota was used up
	Time      time.Duration // throttled time, summed over CPUs
}

// Sub is the growth from before to s.
func (s Stat) Sub(before Stat) Stat {
	return Stat{s.Periods - before.Periods, s.Throttled - before.Throttled, s.Time - before.Time}
}

// Stat reads cpu.stat.
func (c *Cgroup) Stat() (Stat, error) {
	f, err := os.Open(filepath.Join(c.Path, "cpu.stat"))
	if err != nil {
		return Stat{}, fmt.Errorf("reading the kernel's throttling counters: %w", err)
	}
	defer f.Close()
	var out Stat
	for s := bufio.NewScanner(f); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), " ")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch key {
		case "nr_periods":
			out.Periods = n
		case "nr_throttled":
			out.Throttled = n
		case "throttled_time": // v1
			out.Time = time.Duration(n)
		case "throttled_usec": // v2
			out.Time = time.Duration(n) * time.Microsecond
		}
	}
	return out, nil
}

// Add moves a process with all its threads into the group.
func (c *Cgroup) Add(pid int) error { return c.write("cgroup.procs", strconv.Itoa(pid)) }

// Close removes the group. Its processes must have been stopped; the last of
// them may take a moment to be gone.
func (c *Cgroup) Close() error {
	var err error
	for range 100 {
		if err = os.Remove(c.Path); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing a cgroup: %w", err)
}

func (c *Cgroup) write(file, value string) error {
	if err := os.WriteFile(filepath.Join(c.Path, file), []byte(value), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", value, err)
	}
	return nil
}
