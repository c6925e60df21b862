package agent

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/kmend/kmend/bpf/disk"
	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/incident"
)

// disks measures block I/O and reads the I/O limits of the target's groups. Its
// evidence is listed at the top of diagnose/cause/disk.go.
type disks struct{ probe *disk.Probe }

func loadDisks(m *probe.Members) (measurer, error) {
	p, err := disk.Load(disk.DefaultOptions(), m)
	if err != nil {
		return nil, err
	}
	return disks{p}, nil
}

func (d disks) Close() error { return d.probe.Close() }

func (d disks) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	m, groups, err := s.node.Bearing("blkio", s.target.Cgroups, s.target.PIDs)
	if err != nil {
		groups = nil // without the controller nothing is limited
	}
	before := ioOf(m, groups)
	r, err := d.probe.Measure(ctx, ownIOGroups(m, groups), window)
	if err != nil {
		return reading{}, err
	}
	names := s.node.Names()
	var es evidences
	for _, dev := range devicesOf(r) {
		es.device(r, dev, names)
	}
	es.limits(before, ioOf(m, groups), window)
	return reading{evidence: es, lost: r.Lost}, nil
}

func ioOf(m cgroups.Mount, groups []string) (out []cgroups.IO) {
	for _, dir := range groups {
		out = append(out, m.IO(dir)...)
	}
	return out
}

// ownIOGroups are the inodes of the groups on v1. On v2 a group above the target
// bears on it and is not its own; those below are in the target's tables.
func ownIOGroups(m cgroups.Mount, groups []string) (ids []uint64) {
	if m.V2 {
		return nil
	}
	for _, dir := range groups {
		var st syscall.Stat_t
		if syscall.Stat(dir, &st) == nil && len(m.IO(dir)) > 0 {
			ids = append(ids, st.Ino)
		}
	}
	return ids[:min(len(ids), maxIOGroups)]
}

const (
	maxIOGroups   = 512
	topNeighbours = 3
)

// devicesOf are the devices that the target, or the kernel for it, had to do with.
func devicesOf(r disk.Result) (out []disk.Device) {
	add := func(d disk.Device, o disk.Owner) {
		if o != disk.Other && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	for _, s := range r.Shares {
		add(s.Device, s.Owner)
	}
	for _, p := range r.Pending {
		add(p.Device, p.Owner)
	}
	slices.SortFunc(out, func(a, b disk.Device) int {
		return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
	})
	return out
}

// deviceName is the kernel's name of a disk, "nvme0n1".
func deviceName(number string) string {
	link, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return number
	}
	return printable(filepath.Base(link))
}

// evidences is what an instrument collects.
type evidences []incident.Evidence

func (es *evidences) add(metric, subject string, value float64, unit string) *incident.Evidence {
	*es = append(*es, incident.Evidence{Metric: metric, Subject: subject, Value: round(value), Unit: unit})
	return &(*es)[len(*es)-1]
}

func (es *evidences) device(r disk.Result, dev disk.Device, names map[uint64]string) {
	name := deviceName(fmt.Sprintf("%d:%d", dev.Major, dev.Minor))
	var sum [3]disk.Share
	var others []disk.Share
	for _, s := range r.Shares {
		if s.Device != dev || int(s.Owner) >= len(sum) {
			continue
		}
		t := &sum[s.Owner]
		t.Reads, t.Writes, t.Flushes, t.Others = t.Reads+s.Reads, t.Writes+s.Writes, t.Flushes+s.Flushes, t.Others+s.Others
		t.Bytes, t.Longest = t.Bytes+s.Bytes, max(t.Longest, s.Longest)
		t.Queue, t.Service = t.Queue.Plus(s.Queue), t.Service.Plus(s.Service)
		if s.Owner == disk.Other {
			others = append(others, s)
		}
	}
	own, kernel, other := sum[disk.Target], sum[disk.Kernel], sum[disk.Other]
	es.add("requests", name, float64(own.Count()), "requests")
	if own.Count() > 0 {
		es.add("reads", name, float64(own.Reads), "requests")
		es.add("writes", name, float64(own.Writes), "requests")
		es.add("flushes", name, float64(own.Flushes), "requests")
		es.add("bytes", name, float64(own.Bytes), "bytes")
		es.times("queue", name, own.Queue)
		es.times("service", name, own.Service)
		es.add("longest", name, ms(own.Longest), "ms")
	}
	if kernel.Count() > 0 {
		es.add("kernel_requests", name, float64(kernel.Count()), "requests")
		es.add("kernel_flushes", name, float64(kernel.Flushes), "requests")
		es.times("kernel_queue", name, kernel.Queue)
		es.times("kernel_service", name, kernel.Service)
	}
	if other.Count() > 0 {
		es.add("others_requests", name, float64(other.Count()), "requests")
		es.add("others_bytes", name, float64(other.Bytes), "bytes")
		es.times("others_service", name, other.Service)
	}
	for _, p := range r.Pending {
		if p.Device == dev && p.Owner != disk.Other {
			prefix := map[disk.Owner]string{disk.Target: "pending", disk.Kernel: "kernel_pending"}[p.Owner]
			es.add(prefix, name, float64(p.Count), "requests")
			es.add(prefix+"_time", name, ms(p.Total), "ms")
			es.add(prefix+"_oldest", name, ms(p.Oldest), "ms")
		}
	}
	slices.SortFunc(others, func(a, b disk.Share) int { return cmp.Compare(b.Service.Total, a.Service.Total) })
	for _, s := range others[:min(len(others), topNeighbours)] {
		es.add("neighbour", name+" "+neighbour(s, names), ms(s.Service.Total), "ms")
	}
}

func neighbour(s disk.Share, names map[uint64]string) string {
	path := names[s.CgroupID]
	if path == "" || path == "/" {
		return printable(s.Comm)
	}
	return printable(path) + " (" + printable(s.Comm) + ")"
}

// times adds a sum with its spread, the mean and the upper ends of where the
// quantiles lie.
func (es *evidences) times(metric, subject string, t disk.Times) {
	e := es.add(metric, subject, ms(t.Total), "ms")
	for i, n := range t.Slots {
		if n > 0 {
			e.Histogram = append(e.Histogram, incident.Bucket{UpTo: round(ms(disk.Bound(i))), Count: uint64(n)})
		}
	}
	es.add(metric+"_mean", subject, ms(t.Mean()), "ms")
	es.add(metric+"_p50", subject, ms(t.Quantile(0.5)), "ms")
	es.add(metric+"_p99", subject, ms(t.Quantile(0.99)), "ms")
}

// limits adds every I/O limit and how much of it was used.
func (es *evidences) limits(before, after []cgroups.IO, window time.Duration) {
	for _, now := range after {
		i := slices.IndexFunc(before, func(b cgroups.IO) bool { return b.Dir == now.Dir && b.Device == now.Device })
		if i < 0 {
			continue
		}
		for k, kind := range cgroups.IOKinds() {
			if now.Limit[k] == 0 || now.Used[k] < before[i].Used[k] {
				continue
			}
			unit := "bytes/s"
			if k > 1 {
				unit = "requests/s"
			}
			subject := printable(now.Path) + " " + deviceName(now.Device)
			es.add("limit_"+kind, subject, float64(now.Limit[k]), unit)
			es.add("used_"+kind, subject, float64(now.Used[k]-before[i].Used[k])/window.Seconds(), unit)
		}
	}
}
