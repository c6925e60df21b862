package tcp

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
