package jvm

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"
)

// perfData is what a JDK 17 had (-XX:+UseSerialGC) in the middle of a collection,
// and the figures are those that jstat -snap says.
const perfInvocations, perfTicks = 17 + 3, 498220610 + 156186435

func perfData(t testing.TB) []byte {
	b, err := os.ReadFile("testdata/hsperfdata")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPerfData(t *testing.T) {
	b := perfData(t)
	c, err := parsePerfData(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := (counters{frequency: 1e9, invocations: perfInvocations, ticks: perfTicks, collecting: true}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if p, collecting, err := c.since(counters{collecting: true, frequency: 1e9, ticks: perfTicks - 5000}); err != nil || p.Count != perfInvocations || p.NS != 5000 || collecting {
		t.Errorf("%+v, %v, %v", p, collecting, err)
	}
	if _, _, err := c.since(counters{frequency: 1e9, invocations: perfInvocations + 1}); err == nil {
		t.Error("counters that went back are no error")
	}
}

func TestHostilePerfData(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"no magic":         func(b []byte) []byte { b[0] = 0; return b },
		"version 3":        func(b []byte) []byte { b[5] = 3; return b },
		"starting":         func(b []byte) []byte { b[7] = 0; return b },
		"4 G entries":      func(b []byte) []byte { binary.LittleEndian.PutUint32(b[28:], 1<<32-1); return b },
		"entries past end": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[28:], maxEntries); return b },
		"entry nowhere":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[24:], 1<<31); return b },
		"entry of 0 bytes": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[32:], 0); return b },
		"name nowhere":     func(b []byte) []byte { binary.LittleEndian.PutUint32(b[36:], 1<<31); return b },
		"value nowhere":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[48:], 1<<31); return b },
		"cut":              func(b []byte) []byte { return b[:1000] },
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := parsePerfData(change(slices.Clone(perfData(t)))); err == nil {
				t.Errorf("%+v and no error", c)
			}
		})
	}
}

func FuzzPerfData(f *testing.F) {
	f.Add(perfData(f))
	f.Add(perfData(f)[:400])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parsePerfData(b)
		if err != nil {
			return
		}
		if p, _, err := c.since(counters{frequency: c.frequency}); err == nil && p.Count < 0 {
			t.Errorf("%+v", p)
		}
	})
}
