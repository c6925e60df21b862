package agent

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/incident"
	"golang.org/x/sys/unix"
)

const (
	// tick is the unit of /proc/stat, USER_HZ, on every architecture of today.
	tick = 10 * time.Millisecond
	// maxBilled threads are asked for their CPU time; with more there is no second witness.
	maxBilled = 1024
	topCPUs   = 5
)

func stealSupported() error {
	_, err := readCPUTimes("/proc")
	return err
}

func loadStealer(*probe.Members) (measurer, error) { return &stealer{}, nil }

// stealer compares what the hypervisor took from the CPUs (/proc/stat) with what the
// kernel billed to the target's threads: where it knows about stolen time
// (CONFIG_PARAVIRT_TIME_ACCOUNTING) it does not bill it.
type stealer struct{ asked, exact bool }

func (st *stealer) Close() error { return nil }

func (st *stealer) Measure(ctx context.Context, s subject, window time.Duration) (reading, error) {
	if err := probe.Ready(ctx); err != nil {
		return reading{}, err
	}
	cpus, err := readCPUTimes(s.proc)
	if err != nil {
		return reading{}, err
	}
	begun := time.Now()
	threads := billed(s)
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return reading{}, context.Cause(ctx)
	}
	took := time.Since(begun)
	threadsAfter := billed(s)
	after, err := readCPUTimes(s.proc)
	if err != nil {
		return reading{}, err
	}
	if !st.asked {
		st.asked, st.exact = true, billsNoSteal(s.proc)
	}
	if !st.exact {
		threads = nil
	}
	return stolen(cpus, after, threads, threadsAfter, float64(window)/float64(took)), nil
}

// stolen makes evidence of two readings, scaled to the window.
func stolen(before, after map[int]cpuTimes, threads, threadsAfter map[int]account, scale float64) (r reading) {
	add := func(metric, subject string, value float64, unit string) {
		r.evidence = append(r.evidence, incident.Evidence{Metric: metric, Subject: subject, Value: value, Unit: unit})
	}
	var allowed unix.CPUSet
	var ns uint64
	lived := 0
	for tid, a := range threadsAfter {
		for i := range allowed {
			allowed[i] |= a.cpus[i]
		}
		if b, ok := threads[tid]; ok && b.started == a.started && a.ns >= b.ns {
			lived++
			ns += a.ns - b.ns
		}
	}
	var all cpuTimes
	type taken struct {
		cpu    int
		stolen uint64
	}
	var most []taken
	for cpu, a := range after {
		b, ok := before[cpu]
		if !ok || a.steal < b.steal || a.busy < b.busy || len(threadsAfter) > 0 && !allowed.IsSet(cpu) {
			continue
		}
		all.steal += a.steal - b.steal
		all.busy += a.busy - b.busy
		if a.steal > b.steal {
			most = append(most, taken{cpu, a.steal - b.steal})
		}
	}
	ticks := func(n uint64) float64 { return float64(n) * ms(tick) * scale }
	add("stolen", "", ticks(all.steal), "ms")
	add("busy", "", ticks(all.busy), "ms")
	slices.SortFunc(most, func(a, b taken) int { return cmp.Or(cmp.Compare(b.stolen, a.stolen), cmp.Compare(a.cpu, b.cpu)) })
	for _, t := range most[:min(len(most), topCPUs)] {
		add("cpu_stolen", fmt.Sprintf("cpu%d", t.cpu), ticks(t.stolen), "ms")
	}
	if lived > 0 && len(threadsAfter) < maxBilled {
		add("billed", "", float64(ns)/1e6*scale, "ms")
		add("billed_threads", "", float64(lived), "threads")
	}
	return r
}

// cpuTimes are the ticks of one CPU since boot.
type cpuTimes struct{ busy, steal uint64 } // busy: anything but idle, iowait and steal

// readCPUTimes reads /proc/stat: user nice system idle iowait irq softirq steal; what
// guests took is in user. Source: proc(5).
func readCPUTimes(proc string) (map[int]cpuTimes, error) {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return nil, fmt.Errorf("reading the CPUs' times: %w", err)
	}
	out := map[int]cpuTimes{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		name, ok := strings.CutPrefix(line, "cpu")
		if !ok || len(fields) < 9 || name[0] == ' ' {
			continue
		}
		cpu, err := strconv.Atoi(strings.Fields(name)[0])
		var n [8]uint64
		for i := range n {
			var bad error
			n[i], bad = strconv.ParseUint(fields[i+1], 10, 64)
			err = errors.Join(err, bad)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the CPUs' times: %s/stat says %q", proc, printable(strings.TrimSpace(line)))
		}
		out[cpu] = cpuTimes{busy: n[0] + n[1] + n[2] + n[5] + n[6], steal: n[7]}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading the CPUs' times: %s/stat has no CPU with a steal time", proc)
	}
	return out, nil
}

// account is what the kernel billed to a thread.
type account struct {
	ns      uint64
	started string // tells it from a later thread of its number
	cpus    unix.CPUSet
}

// billed asks every thread of the target, up to maxBilled. Threads that end
// meanwhile are left out.
func billed(s subject) map[int]account {
	out := map[int]account{}
	for _, pid := range s.pids() {
		dir := filepath.Join(s.proc, strconv.Itoa(pid), "task")
		tasks, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			if len(out) >= maxBilled {
				return out
			}
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			if a, err := accountOf(filepath.Join(dir, t.Name()), tid); err == nil {
				out[tid] = a
			}
		}
	}
	return out
}

func accountOf(dir string, tid int) (a account, err error) {
	schedstat, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return a, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return a, err
	}
	ran, _, _ := strings.Cut(string(schedstat), " ")
	if a.ns, err = strconv.ParseUint(ran, 10, 64); err != nil {
		return a, err
	}
	// Field 22, counted behind the name, which may hold anything.
	if fields := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:]); len(fields) > 19 {
		a.started = fields[19]
	}
	return a, unix.SchedGetaffinity(tid, &a.cpus)
}

// billsNoSteal reports whether this kernel is known not to bill stolen time: by its
// configuration, which not every node shows.
func billsNoSteal(proc string) bool {
	const option = "CONFIG_PARAVIRT_TIME_ACCOUNTING=y\n"
	const most = 4 << 20
	if f, err := os.Open(filepath.Join(proc, "config.gz")); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			b, _ := io.ReadAll(io.LimitReader(z, most))
			return strings.Contains(string(b), option)
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	release := unix.ByteSliceToString(u.Release[:])
	for _, path := range []string{"boot/config-" + release, "lib/modules/" + release + "/config"} {
		f, err := os.Open(filepath.Join(proc, "1/root", path))
		if err != nil {
			continue
		}
		defer f.Close()
		b, _ := io.ReadAll(io.LimitReader(f, most))
		return strings.Contains(string(b), option)
	}
	return false
}
