package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// CPUStat is what the kernel says about the CPU quota of a container.
type CPUStat struct {
	Quota     float64       // CPUs; 0: none
	Periods   int64         // nr_periods
	Throttled int64         // nr_throttled
	Time      time.Duration // throttled
}

// Sub is the growth since before, with the quota of now.
func (s CPUStat) Sub(before CPUStat) CPUStat {
	return CPUStat{Quota: s.Quota, Periods: s.Periods - before.Periods, Throttled: s.Throttled - before.Throttled, Time: s.Time - before.Time}
}

func (s CPUStat) String() string {
	return fmt.Sprintf("quota %g CPU, throttled in %d of %d periods for %d ms", s.Quota, s.Throttled, s.Periods, s.Time.Milliseconds())
}

// CPUStat reads the kernel's own files, not by way of kmend: the worse of the
// cgroup of the pod's one container and the cgroup of the pod, which has a
// quota too and, being the same, may be used up first.
func (n *Node) CPUStat(pod *corev1.Pod) (CPUStat, error) {
	dir, err := n.ContainerCgroup(pod)
	if err != nil {
		return CPUStat{}, err
	}
	container, err := readCPUStat(dir)
	if err != nil {
		return CPUStat{}, err
	}
	whole, err := readCPUStat(filepath.Dir(dir))
	if err != nil {
		return CPUStat{}, err
	}
	return CPUStat{
		Quota:     container.Quota,
		Periods:   max(container.Periods, whole.Periods),
		Throttled: max(container.Throttled, whole.Throttled),
		Time:      max(container.Time, whole.Time),
	}, nil
}

func readCPUStat(dir string) (s CPUStat, err error) {
	if s.Quota, err = readQuota(dir); err != nil {
		return CPUStat{}, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return CPUStat{}, fmt.Errorf("reading cpu.stat: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return CPUStat{}, fmt.Errorf("reading cpu.stat: %w", err)
		}
		switch name {
		case "nr_periods":
			s.Periods = v
		case "nr_throttled":
			s.Throttled = v
		case "throttled_time": // v1
			s.Time = time.Duration(v)
		case "throttled_usec": // v2
			s.Time = time.Duration(v) * time.Microsecond
		}
	}
	return s, nil
}

// Throttling is what CPUStat grows by in a second from now.
func (n *Node) Throttling(t testing.TB, pod *corev1.Pod) CPUStat {
	t.Helper()
	before, err := n.CPUStat(pod)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	after, err := n.CPUStat(pod)
	if err != nil {
		t.Fatal(err)
	}
	return after.Sub(before)
}

func readQuota(dir string) (float64, error) {
	if unified() { // "20000 100000" or "max 100000"
		b, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
		if err != nil {
			return 0, fmt.Errorf("reading the quota: %w", err)
		}
		return quota(strings.Fields(string(b)))
	}
	q, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	p, err2 := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err = errors.Join(err, err2); err != nil {
		return 0, fmt.Errorf("reading the quota: %w", err)
	}
	return quota([]string{strings.TrimSpace(string(q)), strings.TrimSpace(string(p))})
}

// quota is the CPUs of a quota and a period in microseconds; "max" and -1 mean none.
func quota(fields []string) (float64, error) {
	if len(fields) != 2 {
		return 0, fmt.Errorf("reading the quota: %q is not QUOTA PERIOD", fields)
	}
	if fields[0] == "max" || fields[0] == "-1" {
		return 0, nil
	}
	q, err := strconv.ParseFloat(fields[0], 64)
	p, err2 := strconv.ParseFloat(fields[1], 64)
	if err = errors.Join(err, err2); err != nil {
		return 0, fmt.Errorf("reading the quota: %w", err)
	}
	if p <= 0 {
		return 0, fmt.Errorf("reading the quota: a period of %g us", p)
	}
	return q / p, nil
}

// ContainerCgroup is the directory, in the hierarchy of the cpu controller, of
// the pod's one container.
func (n *Node) ContainerCgroup(pod *corev1.Pod) (string, error) {
	if len(pod.Status.ContainerStatuses) != 1 {
		return "", fmt.Errorf("pod %s has %d container statuses, want 1", pod.Name, len(pod.Status.ContainerStatuses))
	}
	_, id, ok := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !ok {
		return "", fmt.Errorf("pod %s has no container id yet", pod.Name)
	}
	root := cgroupMount
	if !unified() {
		root += "/cpu"
	}
	found := ""
	err := filepath.WalkDir(root+n.cgroup, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == id {
			found = path
			return filepath.SkipAll
		}
		return nil // a cgroup that goes away meanwhile
	})
	if err != nil || found == "" {
		return "", fmt.Errorf("looking for the cgroup of container %s below %s%s: not found", id, root, n.cgroup)
	}
	return found, nil
}
