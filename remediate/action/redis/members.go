package redis

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// member is a line of CLUSTER NODES.
type member struct {
	id, addr, host string // host: host:port with the announced host name, "" without one
	flags          []string
	master         string // the id of a replica's master
	epoch          string
	connected      bool
	slots          bool
}

func (m member) String() string {
	s := strings.Join(m.flags, ",")
	if !m.connected {
		s += ", not connected"
	}
	return clean(s)
}

// well reports whether nobody doubts that the node works.
func (m member) well() bool {
	for _, f := range m.flags {
		if f == "fail" || f == "fail?" || f == "handshake" || f == "noaddr" {
			return false
		}
	}
	return m.connected
}

// members reads CLUSTER NODES, as the node at self gave it:
//
//	ID IP:PORT@BUS[,HOST] FLAGS MASTER PING PONG EPOCH LINK SLOTS...
func members(text, self string) ([]member, error) {
	var out []member
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("a line of %d fields, want 8 or more", len(f))
		}
		m := member{id: f[0], flags: strings.Split(f[2], ","), master: f[3], epoch: f[6], connected: f[7] == "connected"}
		where, rest, _ := strings.Cut(f[1], "@")
		_, hosts, _ := strings.Cut(rest, ",")
		name, _, _ := strings.Cut(hosts, ",")
		m.addr = where
		// IPv6 comes without brackets.
		host, port := where[:max(0, strings.LastIndexByte(where, ':'))], where[strings.LastIndexByte(where, ':')+1:]
		switch {
		case slices.Contains(m.flags, "myself"):
			m.connected, m.addr = true, self
			if host != "" {
				m.addr = net.JoinHostPort(host, port)
			}
		case !slices.Contains(m.flags, "noaddr"):
			m.addr = net.JoinHostPort(host, port)
		}
		if name != "" {
			m.host = net.JoinHostPort(name, port)
		}
		m.slots = slices.Contains(m.flags, "master") && len(f) > 8
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("it is empty")
	}
	return out, nil
}

// shardOf finds the master of the shard that the node `from` belongs to, and its replicas.
func shardOf(nodes []member, from string) (master member, replicas []member, err error) {
	var known []string
	for _, m := range nodes {
		known = append(known, m.addr)
		if from == m.id || from == m.addr || from == m.host && from != "" {
			master = m
		}
	}
	if master.id == "" {
		return master, nil, fmt.Errorf("with.from: the Cluster has no node %q; it has %s", from, clean(strings.Join(known, ", ")))
	}
	if slices.Contains(master.flags, "slave") {
		at := slices.IndexFunc(nodes, func(m member) bool { return m.id == master.master })
		if at < 0 {
			return master, nil, fmt.Errorf("the master of %s is not known", from)
		}
		master = nodes[at]
	}
	if !slices.Contains(master.flags, "master") {
		return master, nil, fmt.Errorf("%s is neither a master nor a master's replica", master.addr)
	}
	for _, m := range nodes {
		if m.master == master.id && slices.Contains(m.flags, "slave") {
			replicas = append(replicas, m)
		}
	}
	slices.SortFunc(replicas, func(a, b member) int { return strings.Compare(a.addr, b.addr) })
	return master, replicas, nil
}
