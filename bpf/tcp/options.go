package tcp

import "fmt"

// Options bounds the memory of a window in the kernel.
type Options struct {
	// MaxConnections of the target, about 600 bytes each while it is open. More are lost.
	MaxConnections int
	// MaxPeers whose connections ended inside the window; those of more are lost.
	MaxPeers int
	// MaxPorts that the target listens on. On more the role is told by who connected.
	MaxPorts int
}

// DefaultOptions are for a busy server: 16384 connections, 4096 peers, 1024 ports.
func DefaultOptions() Options {
	return Options{MaxConnections: 16384, MaxPeers: 4096, MaxPorts: 1024}
}

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxConnections", o.MaxConnections}, {"MaxPeers", o.MaxPeers}, {"MaxPorts", o.MaxPorts}} {
		if f.value < 1 || f.value > 1<<20 {
			return fmt.Errorf("tcp.Options.%s is %d, allowed are 1 to %d", f.name, f.value, 1<<20)
		}
	}
	return nil
}
