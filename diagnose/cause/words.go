package cause

import (
	"fmt"
	"math"
	"strconv"

	"github.com/kmend/kmend/incident"
)

var words = map[incident.State]string{
	incident.OnCPU:      "on CPU",
	incident.RunQueue:   "run queue",
	incident.Throttled:  "throttled",
	incident.IO:         "blocked on I/O",
	incident.Reclaim:    "reclaiming memory",
	incident.KernelLock: "blocked on kernel locks",
}

func ms(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

// exact is a configured number of CPUs, about a measured one.
func exact(cpus float64) string {
	return strconv.FormatFloat(math.Round(cpus*1000)/1000, 'f', -1, 64)
}

func about(cpus float64) string {
	if cpus < 0.1 {
		return strconv.FormatFloat(math.Round(cpus*100)/100, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(cpus*10)/10, 'f', -1, 64)
}

// group names a cgroup; "/" alone would be overlooked.
func group(path string) string {
	if path == "/" {
		return "the root cgroup"
	}
	return path
}

func plural(n float64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return exact(n) + " " + noun
}

func (f facts) inThreads() string {
	if f.threads <= 1 {
		return ""
	}
	return fmt.Sprintf(" in %d threads", f.threads)
}

func (f facts) threshold(share float64) string {
	return fmt.Sprintf("at least %.0f%% and %.0f ms", 100*share, f.floor())
}
