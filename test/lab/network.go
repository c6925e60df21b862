package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// link is two network namespaces with a cable between them.
type link struct {
	b        *bed
	near     string // namespace of the target
	far      string
	nearAddr string
	farAddr  string
}

func (b *bed) link() *link {
	id := fmt.Sprintf("%x%d", os.Getpid(), b.n)
	b.n++
	l := &link{b: b, near: "n" + id, far: "m" + id, nearAddr: "10.111.0.1", farAddr: "10.111.0.2"}
	for _, ns := range []string{l.near, l.far} {
		l.run("ip", "netns", "add", ns)
		b.later(func() error { return exec.Command("ip", "netns", "del", ns).Run() })
		l.run("ip", "-n", ns, "link", "set", "lo", "up")
	}
	l.run("ip", "-n", l.near, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", l.far)
	for ns, addr := range map[string]string{l.near: l.nearAddr, l.far: l.farAddr} {
		l.run("ip", "-n", ns, "addr", "add", addr+"/24", "dev", "e0")
		l.run("ip", "-n", ns, "link", "set", "e0", "up")
	}
	return l
}

func (l *link) run(args ...string) {
	_, err := l.b.command(args...)
	l.b.check(err)
}

// loses drops a part of the segments in one direction or both. iptables where
// its statistic match is there; else netem (a Debian kernel in a VM).
func (l *link) loses(toFar, toNear float64) {
	for ns, part := range map[string]float64{l.far: toFar, l.near: toNear} {
		if part == 0 {
			continue
		}
		p := fmt.Sprintf("%.4f", part)
		_, err := l.b.command("ip", "netns", "exec", ns, "iptables", "-A", "INPUT", "-i", "e0", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", p, "-j", "DROP")
		if err == nil {
			continue
		}
		from := l.near
		if ns == l.near {
			from = l.far
		}
		if _, err2 := l.b.command("tc", "-n", from, "qdisc", "replace", "dev", "e0", "root", "netem", "loss", fmt.Sprintf("%.2f%%", 100*part)); err2 != nil {
			l.b.check(fmt.Errorf("making a lossy link: neither %w nor %w", err, err2))
		}
	}
}

// retransmitted reads how many segments the namespace of a process has sent again.
func retransmitted(p *proc) func() (float64, error) {
	return func() (float64, error) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", p.pid))
		if err != nil {
			return 0, err
		}
		var names []string
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) == 0 || f[0] != "Tcp:" {
				continue
			}
			if names == nil {
				names = f
				continue
			}
			for i, n := range names {
				if n == "RetransSegs" {
					var v float64
					_, err := fmt.Sscan(f[i], &v)
					return v, err
				}
			}
		}
		return 0, fmt.Errorf("no RetransSegs in /proc/%d/net/snmp", p.pid)
	}
}
