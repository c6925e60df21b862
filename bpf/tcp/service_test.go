package tcp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// requestSize is that of a request and of an answer: one segment each.
const requestSize = 100

// service answers each request after a while, and knows how long that was.
type service struct {
	t      *testing.T
	l      net.Listener
	delay  func() time.Duration // negative: never answer
	took   atomic.Int64         // from having read a request to before writing the answer, ns
	wg     sync.WaitGroup
	mu     sync.Mutex
	accept []*net.TCPConn
}

func serve(t *testing.T, address string, delay func() time.Duration) *service {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, l: l, delay: delay}
	s.wg.Go(s.run)
	t.Cleanup(s.stop)
	return s
}

func after(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func (s *service) stop() {
	_ = s.l.Close()
	for _, c := range s.conns() {
		_ = c.Close()
	}
	s.wg.Wait()
}

func (s *service) run() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accept = append(s.accept, c.(*net.TCPConn))
		s.mu.Unlock()
		s.wg.Go(func() { s.answer(c) })
	}
}

func (s *service) answer(c net.Conn) {
	b := make([]byte, requestSize)
	for {
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		begin := time.Now()
		d := s.delay()
		if d < 0 {
			continue
		}
		time.Sleep(d)
		s.took.Add(int64(time.Since(begin)))
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func (s *service) addr() netip.AddrPort { return s.l.Addr().(*net.TCPAddr).AddrPort() }

// conns are the service's ends of the connections.
func (s *service) conns() []*net.TCPConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accept
}

// client asks over one connection and measures its own response times.
type client struct {
	t     *testing.T
	c     *net.TCPConn
	asked uint64
	took  time.Duration // from before writing requests to having read answers
}

func dial(t *testing.T, s *service) *client {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(s.addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for { // until it is accepted
		for _, a := range s.conns() {
			if a.RemoteAddr().String() == c.LocalAddr().String() {
				return &client{t: t, c: c}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *client) ask() {
	b := make([]byte, requestSize)
	begin := time.Now()
	if _, err := c.c.Write(b); err != nil {
		c.t.Error(err)
	}
	if _, err := io.ReadFull(c.c, b); err != nil {
		c.t.Error(err)
	}
	c.took += time.Since(begin)
	c.asked++
}

// send only asks.
func (c *client) send() {
	if _, err := c.c.Write(make([]byte, requestSize)); err != nil {
		c.t.Error(err)
	}
}

func control(t *testing.T, c syscall.Conn, do func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := errors.Join(raw.Control(func(fd uintptr) { inner = do(int(fd)) }), inner); err != nil {
		t.Fatal(err)
	}
}

// lose makes the kernel drop a part of the segments that come in on a connection,
// before TCP sees them: real losses that need neither a network device nor a
// privilege. A socket filter that gives 0 drops; bpf(8) calls A = random.
func lose(t *testing.T, c *net.TCPConn, part float64) {
	t.Helper()
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(part * (1<<32 - 1)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	control(t, c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	})
}

// info is the kernel's own account of a connection.
func info(t *testing.T, c *net.TCPConn) (i unix.TCPInfo) {
	t.Helper()
	control(t, c, func(fd int) error {
		got, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			i = *got
		}
		return err
	})
	return i
}
