package cgroup

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kmend/kmend/remediate/action"
)

func TestRaise(t *testing.T) {
	const p = 100_000
	cases := []struct {
		name    string
		current quota
		factor  float64
		max     action.CPUs
		cpus    int
		above   []limit
		want    quota
		bound   string
		err     string
	}{
		{name: "by the factor", current: quota{30_000, p}, factor: 2, max: 4000, cpus: 8, want: quota{60_000, p}},
		{name: "rounded", current: quota{33_333, p}, factor: 1.5, max: 4000, cpus: 8, want: quota{50_000, p}},
		{name: "other period", current: quota{5_000, 20_000}, factor: 3, max: 4000, cpus: 8, want: quota{15_000, 20_000}},
		{name: "cut by max", current: quota{150_000, p}, factor: 2, max: 2000, cpus: 8, want: quota{200_000, p}, bound: "the runbook's max is 2 CPU"},
		{name: "cut by the CPUs", current: quota{150_000, p}, factor: 10, max: 8000, cpus: 2, want: quota{200_000, p}, bound: "this machine has 2 CPUs online"},
		{name: "at max", current: quota{200_000, p}, factor: 2, max: 2000, cpus: 8, err: "nothing to raise: the quota is 2 CPU and the runbook's max is 2 CPU"},
		{name: "over max", current: quota{300_000, p}, factor: 2, max: 2000, cpus: 8, err: "nothing to raise: the quota is 3 CPU and the runbook's max is 2 CPU"},
		{name: "at the CPUs", current: quota{200_000, p}, factor: 2, max: 8000, cpus: 2, err: "this machine has 2 CPUs online"},
		{name: "a tiny factor", current: quota{1_000, p}, factor: 1.0001, max: 8000, cpus: 2, err: "nothing to raise"},
		{name: "under an ancestor", current: quota{30_000, p}, factor: 2, max: 4000, cpus: 8, above: []limit{{"/a", quota{60_000, p}}}, want: quota{60_000, p}},
		{name: "over an ancestor", current: quota{30_000, p}, factor: 2, max: 4000, cpus: 8, above: []limit{{"/a", quota{25_000, 50_000}}},
			err: "the new quota 0.6 CPU would be over the 0.5 CPU of /a above it"},
		{name: "an ancestor limits", current: quota{50_000, p}, factor: 2, max: 4000, cpus: 8, above: []limit{{"/a", quota{500_000, p}}, {"/", quota{50_000, p}}},
			err: "nothing to raise: the quota is 0.5 CPU, and / above it allows 0.5 CPU"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, bound, err := raise(c.current, c.factor, c.max, c.cpus, c.above)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want || bound != c.bound {
				t.Errorf("got %v %q %v, want %v %q", got, bound, err, c.want, c.bound)
			}
		})
	}
}

// Whatever comes in, a new quota is larger than the present one and within every bound.
func TestRaiseStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := rapid.Int64Range(1_000, 1_000_000).Draw(t, "period")
		current := quota{rapid.Int64Range(1_000, 10_000_000).Draw(t, "quota"), period}
		factor := rapid.Float64Range(1.0001, 10).Draw(t, "factor")
		most := action.CPUs(rapid.Int64Range(1, 64_000).Draw(t, "max"))
		cpus := rapid.IntRange(1, 64).Draw(t, "cpus")
		above := []limit{{"/a", quota{rapid.Int64Range(1_000, 10_000_000).Draw(t, "above"), period}}}
		got, _, err := raise(current, factor, most, cpus, above)
		if err != nil {
			return
		}
		switch {
		case got.period != period:
			t.Fatal("the period changed")
		case !got.over(current):
			t.Fatalf("%v is not over %v", got, current)
		case got.over(above[0].quota):
			t.Fatalf("%v is over the ancestor's %v", got, above[0].quota)
		case got.cpus() > float64(cpus)+1e-9, got.cpus() > float64(most)/1000+1e-9, got.cpus() > current.cpus()*factor+1e-3:
			t.Fatalf("%v is out of bounds", got)
		}
	})
}

func TestParse(t *testing.T) {
	for in, want := range map[string]quota{"max 100000\n": {-1, 100_000}, "30000 100000": {30_000, 100_000}} {
		if got, err := parseMax(in); err != nil || got != want {
			t.Errorf("parseMax(%q) = %v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "1", "a 100000", "1 0", "1 2 3"} {
		if q, err := parseMax(bad); err == nil {
			t.Errorf("parseMax(%q) = %v", bad, q)
		}
	}
	for in, want := range map[string]int{"0": 1, "0-3,5": 5, "0-1,4-7": 6} {
		if got, err := countCPUs(in); err != nil || got != want {
			t.Errorf("countCPUs(%q) = %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "x", "3-1"} {
		if n, err := countCPUs(bad); err == nil {
			t.Errorf("countCPUs(%q) = %d", bad, n)
		}
	}
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`32 31 0:29 /docker/a\040b /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct`)
	if !ok || m.root != "/docker/a b" || m.point != "/sys/fs/cgroup/cpu,cpuacct" || m.v2 || !m.has("cpu") {
		t.Fatalf("%+v %v", m, ok)
	}
	if dir, err := m.dirOf("/docker/a b/c"); err != nil || dir != "/sys/fs/cgroup/cpu,cpuacct/c" {
		t.Errorf("dirOf: %q, %v", dir, err)
	}
	for _, outside := range []string{"/", "/other", "/../x", "/docker/a bc", "relative"} {
		if dir, err := m.dirOf(outside); err == nil {
			t.Errorf("dirOf(%q) = %q", outside, dir)
		}
	}
	for _, other := range []string{"", "1 2", "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"} {
		if m, ok := parseMount(other); ok {
			t.Errorf("parseMount(%q) = %+v", other, m)
		}
	}
}
