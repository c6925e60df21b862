package main

import "testing"

func TestQuantile(t *testing.T) {
	sample := []float64{5, 1, 4, 2, 3, 10, 9, 8, 7, 6}
	for _, c := range []struct{ q, want float64 }{{0.5, 5}, {0.95, 10}, {0.9, 9}, {1, 10}, {0.01, 1}} {
		if got := quantile(sample, c.q); got != c.want {
			t.Errorf("quantile %v is %v, want %v", c.q, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four is %v", got)
	}
	if got := median([]float64{9, 1, 3}); got != 3 {
		t.Errorf("median of three is %v", got)
	}
}

func TestRedisMicroseconds(t *testing.T) {
	const csv = `"test","rps","avg_latency_ms"
"GET","50000.00","0.1"
`
	if got, err := redisMicroseconds(csv); err != nil || got != 20 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := redisMicroseconds("Could not connect to Redis\n"); err == nil {
		t.Error("no rate was taken for one")
	}
}
