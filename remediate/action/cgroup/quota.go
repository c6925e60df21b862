package cgroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/kmend/kmend/remediate/action"
)

// quota is a group's CPU bandwidth limit: quota microseconds of CPU time in
// every period of that many microseconds. Quota -1 is no limit.
type quota struct{ quota, period int64 }

func (q quota) limited() bool { return q.quota >= 0 && q.period > 0 }

// cpus is the limit in CPUs.
func (q quota) cpus() float64 { return float64(q.quota) / float64(q.period) }

func (q quota) number() string {
	return strconv.FormatFloat(math.Round(q.cpus()*1e4)/1e4, 'f', -1, 64)
}

func (q quota) String() string {
	if !q.limited() {
		return "no quota"
	}
	return q.number() + " CPU"
}

// over reports whether q allows more CPU time than p; both are limited.
func (q quota) over(p quota) bool { return q.quota*p.period > p.quota*q.period }

// parseMax reads v2's cpu.max: "max 100000" or "30000 100000".
func parseMax(s string) (quota, error) {
	f := strings.Fields(s)
	if len(f) != 2 {
		return quota{}, fmt.Errorf("cpu.max is %q, want QUOTA PERIOD", s)
	}
	if f[0] == "max" {
		f[0] = "-1"
	}
	return parseQuota(f[0], f[1])
}

func parseQuota(q, period string) (out quota, err error) {
	if out.quota, err = strconv.ParseInt(q, 10, 64); err != nil {
		return quota{}, fmt.Errorf("quota %q is not a number of microseconds", q)
	}
	if out.period, err = strconv.ParseInt(period, 10, 64); err != nil || out.period <= 0 {
		return quota{}, fmt.Errorf("period %q is not a number of microseconds", period)
	}
	return out, nil
}

// limit is the quota of a group.
type limit struct {
	dir string
	quota
}

// raise computes the new quota: current x factor, at most max and at most cpus
// CPUs, in the same period, rounded to a microsecond. bound says what cut it
// short, if anything did. An error says why there is nothing to raise.
//
// above are the limits of the ancestors. A quota over an ancestor's is refused,
// not cut: on v1 the kernel refuses it, and on v2 it would not be what counts.
func raise(current quota, factor float64, max action.CPUs, cpus int, above []limit) (wanted quota, bound string, err error) {
	wanted = quota{int64(math.Round(float64(current.quota) * factor)), current.period}
	for _, b := range []struct {
		quota int64
		why   string
	}{
		{max.Milli() * current.period / 1000, fmt.Sprintf("the runbook's max is %s", max)},
		{int64(cpus) * current.period, fmt.Sprintf("this machine has %d CPUs online", cpus)},
	} {
		if wanted.quota > b.quota {
			wanted.quota, bound = b.quota, b.why
		}
	}
	if wanted.quota <= current.quota {
		return quota{}, "", fmt.Errorf("nothing to raise: the quota is %s and %s", current, bound)
	}
	for _, a := range above {
		switch {
		case !wanted.over(a.quota):
		case !a.over(current):
			return quota{}, "", fmt.Errorf("nothing to raise: the quota is %s, and %s above it allows %s", current, a.dir, a.quota)
		default:
			return quota{}, "", fmt.Errorf("the new quota %s would be over the %s of %s above it; lower with.factor or with.max, or raise that group's quota first",
				wanted, a.quota, a.dir)
		}
	}
	return wanted, bound, nil
}
