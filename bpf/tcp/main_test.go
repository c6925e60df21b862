package tcp

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

type loaded struct {
	members *probe.Members
	*Probe
}

// shared is loaded once for all tests, as an agent does.
var shared = sync.OnceValues(func() (loaded, error) {
	members, err := probe.NewMembers(64)
	if err != nil {
		return loaded{}, err
	}
	p, err := Load(DefaultOptions(), members)
	return loaded{members, p}, err
})

func load(t *testing.T) loaded {
	t.Helper()
	rig.Root(t)
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// measure measures this process for a window. during runs once the window is
// open; what it does is to end before the window.
func measure(t *testing.T, window time.Duration, during func()) Result {
	t.Helper()
	p := load(t)
	if err := p.members.Set(probe.Target{PIDs: []int{os.Getpid()}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.members.Clear(); err != nil {
			t.Error(err)
		}
	}()
	begin, before := time.Now(), p.end(t)
	done := make(chan time.Duration, 1)
	go func() {
		for end := p.end(t); end == 0 || end == before; end = p.end(t) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // its connections are found
		opened := time.Now()
		if during != nil {
			during()
		}
		done <- time.Since(opened)
	}()
	r, err := p.Measure(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	if took := <-done; took > window-100*time.Millisecond {
		t.Fatalf("the test's own load took %v of a window of %v: a machine this slow shows nothing", took, window)
	}
	t.Logf("window %v, %v more to attach, read and detach; %d connections, %d events missed",
		window, (time.Since(begin) - window).Round(time.Millisecond), r.Connections, r.Missed)
	if r.Lost != 0 {
		t.Errorf("lost %d", r.Lost)
	}
	for _, p := range r.Peers {
		t.Logf("  %+v", p)
	}
	return r
}

// end is that of the window that is open or was last, or 0.
func (p loaded) end(t *testing.T) (end uint64) {
	if err := p.objs.WindowEnd.Get(&end); err != nil {
		t.Error(err)
	}
	return end
}

// clientOf is the target as the client of addr, in every task group and
// namespace; without it a zero Peer.
func (r Result) clientOf(addr netip.AddrPort) (sum Peer) {
	for _, p := range r.Peers {
		if p.Role == Client && p.Addr == addr {
			sum = p
		}
	}
	return sum
}

// serverOn is the target as the server on a port.
func (r Result) serverOn(port uint16) (sum Peer) {
	for _, p := range r.Peers {
		if p.Role == Server && p.LocalPort == port {
			sum = p
		}
	}
	return sum
}
