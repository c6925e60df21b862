package symbols

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/kmend/kmend/bpf/stack"
)

// BenchmarkResolve walks and names 600 stacks that are at a random place of this
// program each, so that nothing but the file's pages is found again: each frame
// costs what a new address costs.
func BenchmarkResolve(b *testing.B) {
	pid := os.Getpid()
	p, err := readProcess("/proc", pid)
	if err != nil {
		b.Fatal(err)
	}
	m := p.maps[0]
	r := rand.New(rand.NewPCG(1, 1))
	var stacks []stack.Stack
	for range 600 {
		s := stack.Stack{PID: pid, IP: m.start + r.Uint64N(m.end-m.start), SP: 1 << 40, BP: 1 << 40}
		for i := range uint64(20) { // a chain of frame pointers
			s.User = binary.LittleEndian.AppendUint64(s.User, 1<<40+16*(i+1))
			s.User = binary.LittleEndian.AppendUint64(s.User, m.start+r.Uint64N(m.end-m.start))
		}
		stacks = append(stacks, s)
	}
	for _, c := range []struct {
		name string
		cold bool
	}{{"cold", true}, {"warm", false}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := New(DefaultOptions())
			if err != nil {
				b.Fatal(err)
			}
			frames := 0
			for b.Loop() {
				if c.cold {
					clear(s.cache)
				}
				frames = 0
				for _, st := range s.Resolve(b.Context(), stacks).Stacks {
					frames += len(st.User)
				}
			}
			b.ReportMetric(float64(frames), "frames")
		})
	}
}

func BenchmarkKernel(b *testing.B) {
	for b.Loop() {
		if _, err := readKallsyms("/proc"); err != nil {
			b.Fatal(err)
		}
	}
}
