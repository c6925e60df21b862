package redis_test

import (
	"net"
	"sync"
	"testing"
)

// proxy is a link to a master that can hold back what the master sends.
type proxy struct {
	host, port string
	held       sync.Mutex
}

func (p *proxy) hold(on bool) {
	if on {
		p.held.Lock()
	} else {
		p.held.Unlock()
	}
}

func through(t *testing.T, master string) *proxy {
	t.Helper()
	p := &proxy{}
	addr := listen(t, func(replica net.Conn) {
		m, err := net.Dial("tcp", master)
		if err != nil {
			replica.Close()
			return
		}
		defer m.Close()
		defer replica.Close()
		go p.pass(replica, m, false)
		p.pass(m, replica, true)
	})
	p.host, p.port, _ = net.SplitHostPort(addr)
	return p
}

func (p *proxy) pass(from, to net.Conn, gated bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if gated {
			p.held.Lock()
			p.held.Unlock() //nolint:staticcheck // passing the gate is all
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}
