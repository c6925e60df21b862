package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// own is the victim's own count of what it lost, by its own clock.
func own(p *proc, what string, leastMS float64) meter {
	return meter{what: what + ", by the victim's clock (ms)", least: leastMS, read: func() (float64, error) {
		v, err := meterFile(p)
		return v / 1000, err
	}}
}

func meterFile(p *proc) (float64, error) {
	b, err := os.ReadFile(p.meter)
	if err != nil || len(b) < 8 {
		return 0, fmt.Errorf("the victim's meter: %d bytes, %w", len(b), err)
	}
	return float64(int64(binary.NativeEndian.Uint64(b))), nil
}

// throttledMS is the kernel's own throttled time of a group.
func throttledMS(g *group, least float64) meter {
	return meter{what: "throttled time in cpu.stat (ms)", least: least, read: func() (float64, error) {
		if g.b.h.v2 {
			v, err := field(filepath.Join(g.dir("cpu"), "cpu.stat"), "throttled_usec")
			return v / 1e3, err
		}
		v, err := field(filepath.Join(g.dir("cpu"), "cpu.stat"), "throttled_time")
		return v / 1e6, err
	}}
}

// cpuMS is the CPU time that one process has had: user and system, of all its
// threads, and of its children that ended.
func cpuMS(p *proc, least float64) meter {
	return meter{what: "CPU time in /proc/PID/stat (ms)", least: least, read: func() (float64, error) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 15 {
			return 0, fmt.Errorf("reading /proc/%d/stat: %d fields", p.pid, len(f))
		}
		ticks := 0.0
		for _, s := range f[11:15] {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return 0, err
			}
			ticks += v
		}
		return 10 * ticks, nil // USER_HZ is 100 on every architecture Go runs on
	}}
}

// waitedMS is how long the threads of one process waited for a CPU, by
// /proc/PID/task/TID/schedstat.
func waitedMS(p *proc, least float64) meter {
	return meter{what: "run-queue wait in schedstat (ms)", least: least, read: func() (float64, error) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
		if err != nil || len(files) == 0 {
			return 0, fmt.Errorf("process %d has no threads, %w", p.pid, err)
		}
		total := 0.0
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // it ended
			}
			if w := strings.Fields(string(b)); len(w) > 1 {
				v, err := strconv.ParseFloat(w[1], 64)
				if err != nil {
					return 0, err
				}
				total += v / 1e6
			}
		}
		return total, nil
	}}
}

// ooms is how many processes the kernel killed in the group for memory.
func ooms(g *group, least float64) meter {
	return meter{what: "oom_kill of the memory cgroup", least: least, read: func() (float64, error) {
		file := "memory.oom_control"
		if g.b.h.v2 {
			file = "memory.events"
		}
		return field(filepath.Join(g.dir("memory"), file), "oom_kill")
	}}
}

// limitHits is how often the group was at its memory limit.
func limitHits(g *group, least float64) meter {
	return meter{what: "times at the memory limit", least: least, read: func() (float64, error) {
		if g.b.h.v2 {
			return field(filepath.Join(g.dir("memory"), "memory.events"), "max")
		}
		b, err := os.ReadFile(filepath.Join(g.dir("memory"), "memory.failcnt"))
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	}}
}

// resent is how many segments the process's namespace sent again.
func resent(p *proc, least float64) meter {
	return meter{what: "RetransSegs of the namespace", least: least, read: retransmitted(p)}
}

// field reads NAME VALUE out of a file of such lines.
func field(path, name string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == name {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// groupCPU is the CPU time of all processes in a group, now.
func groupCPU(g *group, least float64) meter {
	return meter{what: "CPU time of the group's processes (ms)", least: least, read: func() (float64, error) {
		total := 0.0
		for _, pid := range pidsIn(g.dir("cpu")) {
			if v, err := cpuMS(&proc{pid: pid}, 0).read(); err == nil {
				total += v
			}
		}
		return total, nil
	}}
}
