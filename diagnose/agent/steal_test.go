package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
)

// The figures of a real process against readings of our own: around the window what
// was stolen and billed cannot be less, inside of it not more.
func TestStealAgainstTheKernel(t *testing.T) {
	l := newLab(t)
	dir := l.group("target", heavy, 0)
	w := l.load([]string{dir}, burners("1")...)
	pid := w.Pid
	s := subject{target: probe.Target{PIDs: []int{pid}}, proc: "/proc", pids: func() []int { return []int{pid} }}
	read := func() (steal, busy, ran float64) {
		t.Helper()
		cpus, err := readCPUTimes("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cpus {
			steal, busy = steal+10*float64(c.steal), busy+10*float64(c.busy)
		}
		for _, a := range billed(s) {
			ran += float64(a.ns) / 1e6
		}
		return steal, busy, ran
	}
	steal, busy, ran := read()
	begun := time.Now()
	r := instrumentOn(t, "steal", s, time.Second)
	took := ms(time.Since(begun))
	stealAfter, busyAfter, ranAfter := read()
	if got := first(r, "stolen").Value; got > stealAfter-steal {
		t.Errorf("stolen %.0f ms, around it %.0f", got, stealAfter-steal)
	}
	if got := first(r, "busy").Value; got > busyAfter-busy || got < (busyAfter-busy)-2*(took-1000)-100 {
		t.Errorf("busy %.0f ms in 1000, around it %.0f in %.0f", got, busyAfter-busy, took)
	}
	if !billsNoSteal("/proc") {
		if got := first(r, "billed"); got.Metric != "" {
			t.Errorf("this kernel bills stolen time, and yet %+v", got)
		}
		return
	}
	if got := first(r, "billed").Value; got > ranAfter-ran || got < (ranAfter-ran)-2*(took-1000)-100 {
		t.Errorf("billed %.0f ms in 1000, around it %.0f in %.0f", got, ranAfter-ran, took)
	}
	if n := first(r, "billed_threads").Value; n < 1 {
		t.Errorf("%.0f threads", n)
	}
}

func TestStolen(t *testing.T) {
	before := map[int]cpuTimes{0: {busy: 1000, steal: 50}, 1: {busy: 1000, steal: 50}, 2: {busy: 5, steal: 9}, 3: {busy: 1, steal: 1}}
	after := map[int]cpuTimes{0: {busy: 1090, steal: 60}, 1: {busy: 1050, steal: 100}, 2: {busy: 6, steal: 8}, 4: {busy: 7, steal: 7}}
	var on01 account
	on01.cpus.Set(0)
	on01.cpus.Set(1)
	lived, born, reused := on01, on01, on01
	lived.ns, reused.started = 700e6, "9"
	r := stolen(before, after, map[int]account{7: on01, 9: on01}, map[int]account{7: lived, 8: born, 9: reused}, 0.5)
	var got []string
	for _, e := range r.evidence {
		got = append(got, fmt.Sprintf("%s %s %.0f %s", e.Metric, e.Subject, e.Value, e.Unit))
	}
	// CPU 2 went back, 3 and 4 were there only once; thread 8 was born, 9 is another.
	want := "stolen  300 ms, busy  700 ms, cpu_stolen cpu1 250 ms, cpu_stolen cpu0 50 ms, billed  350 ms, billed_threads  1 threads"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

func TestStealCancelled(t *testing.T) {
	why := errors.New("over its budget")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	s := subject{proc: "/proc", pids: func() []int { return nil }}
	if _, err := (&stealer{}).Measure(ctx, s, time.Hour); !errors.Is(err, why) {
		t.Errorf("error is %v, want its cause", err)
	}
}

func TestReadCPUTimes(t *testing.T) {
	for _, c := range []struct{ stat, want string }{
		{"cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n", "map[0:{19 8}]"},
		{"cpu0 1 2 3 4\n", "has no CPU with a steal time"},
		{"", "has no CPU with a steal time"},
		{"cpu0 1 2 3 4 5 6 7 -8\n", `says "cpu0 1 2 3 4 5 6 7 -8"`},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(c.stat), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readCPUTimes(dir)
		if s := fmt.Sprint(got, err); !strings.Contains(s, c.want) {
			t.Errorf("%q: %s, want %s", c.stat, s, c.want)
		}
	}
}
