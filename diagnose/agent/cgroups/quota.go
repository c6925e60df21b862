package cgroups

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Quota is a CPU quota and the kernel's count of how often it was hit.
type Quota struct {
	Dir    string        // the directory that has it
	Path   string        // in the cpu hierarchy
	CPUs   float64       // quota / period
	Period time.Duration // the length of one period
	Stat   Stat
}

// Stat is cpu.stat: totals since the group was made.
type Stat struct {
	Periods, Throttled uint64        // periods with something to run, and those in which the quota ran out
	Time               time.Duration // throttled, summed over CPUs
}

// Quotas reads every quota that limits one of the groups: its own and those of
// the groups above it, nearest first, each once. Groups without one are absent.
func (n *Node) Quotas(groups []string) ([]Quota, error) {
	m, ok := n.CPU()
	if !ok {
		return nil, missing("no cpu hierarchy is mounted")
	}
	var out []Quota
	seen := map[string]bool{}
	for _, dir := range groups {
		for ; len(dir) >= len(m.Dir) && !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			q, ok, err := m.quota(dir)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, q)
			}
		}
	}
	return out, nil
}

// quota reads one group's; ok is false when it has none or is gone.
func (m Mount) quota(dir string) (q Quota, ok bool, err error) {
	quota, period, err := m.bandwidth(dir)
	if gone(err) { // or the controller is not enabled here
		return Quota{}, false, nil
	}
	if err != nil {
		return Quota{}, false, fmt.Errorf("reading the quota of cgroup %s: %w", dir, err)
	}
	if quota <= 0 || period <= 0 {
		return Quota{}, false, nil
	}
	st, err := m.stat(dir)
	if gone(err) {
		return Quota{}, false, nil
	}
	if err != nil {
		return Quota{}, false, fmt.Errorf("reading the throttling of cgroup %s: %w", dir, err)
	}
	path, _ := m.Path(dir)
	return Quota{
		Dir:    dir,
		Path:   path,
		CPUs:   float64(quota) / float64(period),
		Period: time.Duration(period) * time.Microsecond,
		Stat:   st,
	}, true, nil
}

// bandwidth gives quota and period in microseconds; quota is -1 without a limit.
func (m Mount) bandwidth(dir string) (quota, period int64, err error) {
	if m.V2 {
		b, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
		if err != nil {
			return 0, 0, err
		}
		f := strings.Fields(string(b))
		if len(f) != 2 {
			return 0, 0, fmt.Errorf("cpu.max is %q", b)
		}
		if f[0] == "max" {
			f[0] = "-1"
		}
		return two(f[0], f[1])
	}
	q, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0, 0, err
	}
	p, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0, 0, err
	}
	return two(strings.TrimSpace(string(q)), strings.TrimSpace(string(p)))
}

func two(a, b string) (x, y int64, err error) {
	if x, err = strconv.ParseInt(a, 10, 64); err == nil {
		y, err = strconv.ParseInt(b, 10, 64)
	}
	return x, y, err
}

// stat reads cpu.stat: throttled_usec on v2, throttled_time in ns on v1.
func (m Mount) stat(dir string) (Stat, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return Stat{}, err
	}
	var s Stat
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return Stat{}, fmt.Errorf("cpu.stat has the line %q", line)
		}
		switch key {
		case "nr_periods":
			s.Periods = v
		case "nr_throttled":
			s.Throttled = v
		case "throttled_usec":
			s.Time = time.Duration(v) * time.Microsecond
		case "throttled_time":
			s.Time = time.Duration(v)
		}
	}
	return s, nil
}
