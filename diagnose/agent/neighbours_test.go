package agent

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/tcp"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/incident"
)

// find asks about this process's own namespace.
func find(t *testing.T, address string) []incident.Peer {
	t.Helper()
	node, err := cgroups.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := neighbours{"/proc", node}
	return n.find(t.Context(), []question{{netip.MustParseAddrPort(address), n.netns(os.Getpid())}}, []int{os.Getpid()})
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Who listens on the address, or on all of them, is found with its cgroup.
func TestNeighboursFindWhoListens(t *testing.T) {
	for _, where := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		l := listen(t, where)
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		if strings.HasPrefix(where, "[::1]") {
			at = net.JoinHostPort("::1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		}
		found := find(t, at)
		if len(found) != 1 || found[0].PID != os.Getpid() || found[0].Address != at {
			t.Errorf("listening on %s, asked about %s: %+v; want process %d", l.Addr(), at, found, os.Getpid())
		}
	}
}

// An address that is not this namespace's is served elsewhere, whoever listens
// here on that port.
func TestNeighboursDoNotGuess(t *testing.T) {
	l := listen(t, "0.0.0.0:0")
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if found := find(t, "192.0.2.7:"+port); len(found) != 0 {
		t.Errorf("an address elsewhere: %+v", found)
	}
	only := listen(t, "127.0.0.2:0")
	if found := find(t, "127.0.0.1:"+strconv.Itoa(only.Addr().(*net.TCPAddr).Port)); len(found) != 0 {
		t.Errorf("nobody listens there: %+v", found)
	}
}

// Of processes that share a listening socket, the one that has the connection.
func TestNeighboursPreferWhoAccepted(t *testing.T) {
	if listener := os.Getenv("NEIGHBOURS_TEST_CHILD"); listener != "" {
		time.Sleep(time.Minute) // killed with the test; it has the listener as descriptor 3
		return
	}
	l := listen(t, "127.0.0.1:0")
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestNeighboursPreferWhoAccepted$")
	child.Env = append(os.Environ(), "NEIGHBOURS_TEST_CHILD=1")
	child.ExtraFiles = []*os.File{f, f} // more descriptors than connections
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	for !holds(child.Process.Pid) {
		time.Sleep(time.Millisecond)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	_ = l.Close() // now the child alone listens
	if found := find(t, c.RemoteAddr().String()); len(found) != 1 || found[0].PID != os.Getpid() {
		t.Errorf("%+v; want process %d, which accepted, not %d, which listens", found, os.Getpid(), child.Process.Pid)
	}
	_ = accepted.Close()
	_ = c.Close()
	if found := find(t, c.RemoteAddr().String()); len(found) != 1 || found[0].PID != child.Process.Pid {
		t.Errorf("%+v; want process %d, which listens", found, child.Process.Pid)
	}
}

// holds reports whether the process is the test's child already, with a socket.
func holds(pid int) bool {
	link, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/3")
	return err == nil && strings.HasPrefix(link, "socket:[")
}

func TestAskedPeers(t *testing.T) {
	peer := func(port uint16, waited time.Duration, role tcp.Role) tcp.Peer {
		return tcp.Peer{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Waited: waited, Role: role, NetNS: 1, CgroupID: uint64(port)}
	}
	r := tcp.Result{Window: time.Second, Peers: []tcp.Peer{
		peer(1, time.Second, tcp.Client), peer(1, time.Second, tcp.Client), peer(2, 99*time.Millisecond, tcp.Client), peer(3, time.Second, tcp.Server)}}
	got := asked(r)
	if len(got) != 1 || got[0].address.Port() != 1 {
		t.Errorf("%v; want port 1 alone", got)
	}
	for i := range 20 {
		r.Peers = append(r.Peers, peer(uint16(100+i), time.Second, tcp.Client))
	}
	if n := len(asked(r)); n != topPeers {
		t.Errorf("%d questions, want at most %d", n, topPeers)
	}
}

// Lines that a kernel does not write are passed over.
func FuzzSocketOf(f *testing.F) {
	f.Add("0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 1")
	f.Add("0: 0000000000000000FFFF00000100007F:1F90 0:0 01 0 0 0 0 0 1")
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := socketOf(strings.Fields(line))
		if ok && !s.local.IsValid() {
			t.Errorf("%q: %+v", line, s)
		}
	})
}
