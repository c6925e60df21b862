package main

import (
	"math"
	"slices"
	"time"
)

// quantile of a sample by nearest rank, 0 < q <= 1; the sample is sorted in place.
func quantile[T int64 | float64 | time.Duration](sample []T, q float64) T {
	slices.Sort(sample)
	rank := int(math.Ceil(q * float64(len(sample))))
	return sample[min(max(rank, 1), len(sample))-1]
}

func median(sample []float64) float64 {
	s := slices.Sorted(slices.Values(sample))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func goalIs(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}
