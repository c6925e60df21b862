package main

import (
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// redis starts a Redis in the group that keeps nothing on the disk, and returns
// once it answers.
func (b *bed) redis(g *group, netns, addr string) *proc {
	path, env := b.packaged("redis-tools", "redis-server")
	p := g.start(spawn{netns: netns, env: env}, path, "--bind", addr, "--port", "6379", "--save", "", "--appendonly", "no",
		"--protected-mode", "no", "--dir", b.dir, "--daemonize", "no")
	b.until("redis", 30*time.Second, func() bool { return listens(netns, addr+":6379") })
	return p
}

// benchmark runs redis-benchmark in the group, without end.
func (b *bed) benchmark(g *group, netns, addr string, args ...string) *proc {
	path, env := b.packaged("redis-tools", "redis-benchmark")
	return g.start(spawn{netns: netns, env: env}, append([]string{path, "-h", addr, "-p", "6379", "-n", "1000000000", "-q"}, args...)...)
}

// listens reports whether something accepts connections at addr in a namespace.
func listens(netns, addr string) bool {
	ok := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in its namespace
		if netns != "" {
			f, err := os.Open("/run/netns/" + netns)
			if err != nil || unix.Setns(int(f.Fd()), unix.CLONE_NEWNET) != nil {
				ok <- false
				return
			}
			f.Close()
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		ok <- err == nil
	}()
	return <-ok
}
