package main

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// group is one cgroup (on v1 one in the cpu, memory and blkio hierarchies each).
type group struct {
	b    *bed
	path string // from the root of a hierarchy
}

// group makes a cgroup of the bed, NAME or PARENT/NAME. Names are letters: they
// say nothing about the fault.
func (b *bed) group(name string) *group {
	g := &group{b: b, path: filepath.Join(b.root, name)}
	b.check(b.h.make(g.path))
	b.later(func() error {
		// What is throttled dies slowly.
		g.cpus(0)
		return b.h.remove(g.path)
	})
	return g
}

func (g *group) dir(controller string) string { return filepath.Join(g.b.h.dirs[controller], g.path) }

func (g *group) dirs() []string {
	var out []string
	for _, tree := range g.b.h.trees() {
		out = append(out, filepath.Join(tree, g.path))
	}
	return out
}

// cpus limits the group to so many CPUs, in periods of 100 ms; 0 is no limit.
func (g *group) cpus(n float64) *group {
	dir, us := g.dir("cpu"), strconv.Itoa(int(n*100000))
	switch {
	case g.b.h.v2 && n == 0:
		g.b.check(write(dir, "cpu.max", "max 100000"))
	case g.b.h.v2:
		g.b.check(write(dir, "cpu.max", us+" 100000"))
	case n == 0:
		g.b.check(write(dir, "cpu.cfs_quota_us", "-1"))
	default:
		g.b.check(write(dir, "cpu.cfs_period_us", "100000"))
		g.b.check(write(dir, "cpu.cfs_quota_us", us))
	}
	return g
}

// weight is the group's part beside others; 1 is normal.
func (g *group) weight(w float64) *group {
	g.b.check(setWeight(g.b.h, g.dir("cpu"), w))
	return g
}

func setWeight(h hierarchy, dir string, w float64) error {
	if h.v2 {
		return write(dir, "cpu.weight", strconv.Itoa(int(100*w)))
	}
	return write(dir, "cpu.shares", strconv.Itoa(int(1024*w)))
}

// memory limits the group's memory, page cache included.
func (g *group) memory(mb int) *group {
	file := "memory.limit_in_bytes"
	if g.b.h.v2 {
		file = "memory.max"
	}
	g.b.check(write(g.dir("memory"), file, strconv.Itoa(mb<<20)))
	return g
}

// throttle limits reads and writes on a device ("7:0") to so many a second.
func (g *group) throttle(device string, readIOPS, writeIOPS int) *group {
	dir := g.dir("blkio")
	if g.b.h.v2 {
		g.b.check(write(dir, "io.max", fmt.Sprintf("%s riops=%d wiops=%d", device, readIOPS, writeIOPS)))
		return g
	}
	g.b.check(write(dir, "blkio.throttle.read_iops_device", fmt.Sprintf("%s %d", device, readIOPS)))
	g.b.check(write(dir, "blkio.throttle.write_iops_device", fmt.Sprintf("%s %d", device, writeIOPS)))
	return g
}
