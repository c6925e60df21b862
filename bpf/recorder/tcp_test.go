package recorder

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/tcp"
	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

// onV2 is the group of this process, whose sockets the tests use.
func onV2(t *testing.T) uint64 {
	t.Helper()
	rig.Root(t)
	if !rig.IsV2() {
		t.Skip("needs the cpu controller on cgroup v2: a socket knows no other cgroup; it runs in test/kernels")
	}
	g := rig.NewGroup(t)
	g.Write("cgroup.procs", "0")
	t.Cleanup(func() { // before the group is removed
		if err := os.WriteFile(filepath.Join(filepath.Dir(g.Path), "self", "cgroup.procs"), []byte("0"), 0o644); err != nil {
			t.Error(err)
		}
	})
	return g.ID()
}

// ofTCP sums what the group's sockets did.
func ofTCP(id uint64, s Sample) (sum Delta) {
	for _, d := range s.Groups {
		if d.Cgroup == id {
			sum = d
		}
	}
	return sum
}

func connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if server, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// The probe of a live window watches the same connections at the same time.
func TestStallsAgreeWithTheProbe(t *testing.T) {
	id := onV2(t)
	r := load(t)
	members, err := probe.NewMembers(64)
	if err != nil {
		t.Fatal(err)
	}
	defer members.Close()
	p, err := tcp.Load(tcp.DefaultOptions(), members)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := members.Set(probe.Target{PIDs: []int{os.Getpid()}}); err != nil {
		t.Fatal(err)
	}
	read(t, r)
	var live tcp.Result
	var measuring sync.WaitGroup
	measuring.Go(func() { live, err = p.Measure(t.Context(), 8*time.Second) })
	time.Sleep(3 * time.Second) // it is attached
	var ends []*net.TCPConn
	var asking sync.WaitGroup
	for i := range 4 {
		client, server := connect(t)
		rig.Lose(t, client, 0.1)
		rig.Lose(t, server, 0.1)
		ends = append(ends, client, server)
		go func() { _, _ = io.Copy(server, server) }()
		until := time.Now().Add(2 * time.Second)
		asking.Go(func() {
			b := make([]byte, 100)
			segments := 1 + 19*(i%2) // of many, those after one that is lost arrive
			for time.Now().Before(until) {
				for range segments {
					if _, err := client.Write(b); err != nil {
						t.Error(err)
						return
					}
				}
				if _, err := io.ReadFull(client, make([]byte, segments*len(b))); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	asking.Wait()
	for _, c := range ends {
		rig.Lose(t, c, 0)
	}
	measuring.Wait()
	if err != nil {
		t.Fatal(err)
	}
	got := ofTCP(id, read(t, r))
	var again uint64
	for _, c := range ends {
		again += uint64(rig.TCPInfo(t, c).Total_retrans)
	}
	var stalled time.Duration
	var probed uint64
	for _, p := range live.Peers {
		probed += p.Retransmits
		stalled += p.Stalled()
		if p.Role == tcp.Client {
			stalled += p.GoneStall
		}
	}
	t.Logf("%d retransmits, stalled %.1f ms; the probe says %d, %v; TCP_INFO %d", got.Retransmits, millis(got.StallNS), probed, stalled, again)
	if again < 10 || probed != again {
		t.Fatalf("%d retransmits, of which the probe saw %d: nothing to compare with", again, probed)
	}
	// One may interrupt another's program, which the kernel skips then.
	if got.Retransmits > again || got.Retransmits+1 < again {
		t.Errorf("%d retransmits, TCP_INFO says %d", got.Retransmits, again)
	}
	ms, want, slack := millis(got.StallNS), float64(stalled.Microseconds())/1000, 2.0
	if got.Retransmits < again {
		slack += 0.03 * want
	}
	if ms < want-slack || ms > want+slack {
		t.Errorf("stalled for %.1f ms, the probe says %.1f", ms, want)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil || got.NetNS != uint32(st.Ino) {
		t.Errorf("network namespace %d, want %d (%v)", got.NetNS, st.Ino, err)
	}
}

// One segment that is lost again and again: the stall is the time until it arrives,
// however many timeouts that took. What the peer opened and does not acknowledge
// stalls nobody, as long as it does not.
func TestStallOfOneSegment(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		serverSends, closeAfter, whileItLasts bool
	}{
		{name: "client", whileItLasts: true},
		{name: "server", serverSends: true},
		{name: "server that closes", serverSends: true, closeAfter: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := onV2(t)
			r := load(t)
			client, server := connect(t)
			from, to := client, server
			if c.serverSends {
				from, to = server, client
			}
			rig.Lose(t, to, 1)
			begin := time.Now()
			if _, err := from.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			for rig.TCPInfo(t, from).Total_retrans < 3 {
				time.Sleep(10 * time.Millisecond)
			}
			during := ofTCP(id, read(t, r))
			lasted := time.Since(begin)
			rig.Lose(t, to, 0)
			if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			if c.closeAfter {
				_, _ = from.Close(), to.Close()
			}
			time.Sleep(100 * time.Millisecond)
			after := ofTCP(id, read(t, r))
			t.Logf("%d and %d retransmits; stalled %.1f ms of %v and %.1f ms; it took %v",
				during.Retransmits, after.Retransmits, millis(during.StallNS), lasted, millis(after.StallNS), took)
			if during.Retransmits < 3 || after.Retransmits < 1 {
				t.Errorf("%d retransmits and %d", during.Retransmits, after.Retransmits)
			}
			if ms, want := millis(during.StallNS+after.StallNS), float64(took.Microseconds())/1000; ms > want+20 || ms < 0.85*want-20 {
				t.Errorf("stalled for %.1f ms, the byte took %.1f", ms, want)
			}
			// The kernel counts timeouts in jiffies. A tail loss probe is none, and comes first.
			if half := lasted / 2; c.whileItLasts != (during.StallNS > uint64(half)) {
				t.Errorf("stalled for %.1f of %v before anything was acknowledged", millis(during.StallNS), lasted)
			}
			if last := ofTCP(id, read(t, r)); last.StallNS != 0 {
				t.Errorf("stalled for %.1f ms more", millis(last.StallNS))
			}
		})
	}
}

// A connection that loses nothing has no stall.
func TestNoStall(t *testing.T) {
	id := onV2(t)
	r := load(t)
	client, server := connect(t)
	go func() { _, _ = io.Copy(server, server) }()
	b := make([]byte, 100)
	for range 200 {
		if _, err := client.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, b); err != nil {
			t.Fatal(err)
		}
	}
	if got := ofTCP(id, read(t, r)); got.Retransmits != 0 || got.StallNS != 0 || got.NetNS != 0 {
		t.Errorf("%+v", got)
	}
}
