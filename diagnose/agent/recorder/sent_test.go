package recorder

import (
	"fmt"
	stdio "io" // io is a number of a record
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	probe "github.com/kmend/kmend/bpf/recorder"
	"golang.org/x/sys/unix"
)

// exchange sends n segments to itself and gets as many back.
func exchange(t *testing.T, n int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { _, _ = stdio.Copy(s, s) }()
	b := make([]byte, 100)
	for range n {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := stdio.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
}

// What the namespace of a process sends is known from the second sample on in which
// its cgroup has sent something again, for a while.
func TestSent(t *testing.T) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	procs := fmt.Sprintf("0\n%d\n%d\n", 1<<22, os.Getpid()) // of another namespace of processes, gone, and this one
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(procs), 0o600); err != nil {
		t.Fatal(err)
	}
	o := outgoing{proc: "/proc", dir: dir}
	again := func(netns uint32) *probe.Sample {
		return &probe.Sample{Groups: []probe.Delta{{Cgroup: 7, Retransmits: 1, NetNS: netns}, {Cgroup: 8, NetNS: netns}}}
	}
	look := func(in *probe.Sample) (uint64, bool) {
		sent := o.since(in, func(uint64) string { return "/" })
		if n, ok := sent[8]; ok {
			t.Errorf("%d of a group that has sent nothing again", n)
		}
		n, ok := sent[7]
		return n, ok
	}
	here := uint32(own.Ino)
	if n, ok := look(again(here)); ok {
		t.Errorf("%d of the first sample", n)
	}
	exchange(t, 200)
	if n, ok := look(again(here)); !ok || n < 400 {
		t.Errorf("%d segments (%v), of 400 and more", n, ok)
	}
	for i := range watchFor {
		exchange(t, 5)
		if n, ok := look(&probe.Sample{}); ok != (i < watchFor-1) {
			t.Errorf("%d samples later: %d, %v", i+1, n, ok)
		}
	}
	if len(o.watched) != 0 {
		t.Error("it is watched for ever")
	}
	for name, netns := range map[string]uint32{"another namespace": here + 1, "several": probe.SeveralNetNS, "none": 0} {
		for range 2 {
			exchange(t, 5)
			if n, ok := look(again(netns)); ok {
				t.Errorf("%s: %d", name, n)
			}
		}
	}
}

func TestParsesOutSegs(t *testing.T) {
	const ip = "Ip: Forwarding OutSegs\nIp: 1 99\n"
	for in, want := range map[string]int{
		ip + "Tcp: RtoMin MaxConn InSegs OutSegs RetransSegs\nTcp: 200 -1 5 42 3\nUdp: OutSegs\nUdp: 7\n": 42,
		ip + "Tcp: RtoMin OutSegs\nTcp: 200\n": -1,
		ip + "Tcp: OutSegs\nTcp: -3\n":         -1,
		ip + "Tcp: OutSegs\n":                  -1,
		ip:                                     -1,
		"":                                     -1,
	} {
		n, ok := parseOutSegs([]byte(in))
		if got := int(n); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, ok, want)
		}
	}
}

// Retransmits count against the segments of the seconds for which those are known.
func TestCountedRetransmits(t *testing.T) {
	s := open(t, options(64<<10))
	for at, sent := range []map[uint64]uint64{nil, {1: 100}, {2: 50}, {1: 20, 2: 3}} {
		s.add(&probe.Sample{
			Start: time.Duration(at) * time.Second, End: time.Duration(at+1) * time.Second,
			Groups: []probe.Delta{{Cgroup: 1, Retransmits: 2, StallNS: 3e6, NetNS: 5}},
		}, 0, path, sent)
	}
	w := s.sum(0, 4, nil, everyone, path)
	if len(w.Groups) != 1 {
		t.Fatalf("%+v", w.Groups)
	}
	g := w.Groups[0]
	if g.Retransmits != 8 || g.Counted != 4 || g.Segments != 120 || g.Stalled != 12*time.Millisecond {
		t.Errorf("%+v", g)
	}
}

func BenchmarkOutSegs(b *testing.B) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		b.Fatal(err)
	}
	o, w := outgoing{proc: "/proc"}, watch{netns: uint32(own.Ino), pid: os.Getpid()}
	for b.Loop() {
		if _, ok := o.outSegs(&w); !ok {
			b.Fatal("not read")
		}
	}
}
