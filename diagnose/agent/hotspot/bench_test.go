package hotspot

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/test/jvm"
	"github.com/kmend/kmend/test/rig"
)

// BenchmarkLook is one look at a machine whose threads all sleep.
func BenchmarkLook(b *testing.B) {
	rig.Root(b)
	for _, n := range []int{4, 200, 1000} {
		b.Run(fmt.Sprintf("%d threads", n), func(b *testing.B) {
			m := jvm.Start(b, []string{"-XX:+UseSerialGC", "-Xmx64m"}, "idle", n, 0)
			ms, blind := find("/proc", []int{m.PID})
			if len(ms) != 1 {
				b.Fatal(blind)
			}
			before := cpu()
			for b.Loop() {
				ms[0].look(map[key]*Lock{}, time.Second)
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the CPU time that this process took.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
