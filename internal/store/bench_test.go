package store

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// BenchmarkIngest commits notifications of one alert each from many senders, a
// new incident every time; p99 is what a sender waits.
func BenchmarkIngest(b *testing.B) {
	for _, senders := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			s, err := Open(b.Context(), filepath.Join(b.TempDir(), "kmend.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var n atomic.Int64
			took := make([]time.Duration, b.N)
			b.SetParallelism(max(1, senders/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1) - 1
					from := time.Now()
					if _, err := s.Ingest(b.Context(), []Seed{{DedupKey: fmt.Sprint(i), Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}}, 1<<30); err != nil {
						b.Error(err)
					}
					took[i] = time.Since(from)
				}
			})
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "incidents/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
