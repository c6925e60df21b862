package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/bpf/tcp"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/incident"
)

// neighbours finds who serves an address on this node: the sockets of the target's
// own network namespace say which one, the processes' descriptors whose it is.
// What is served elsewhere, in another pod too, is not found.
type neighbours struct {
	proc string
	node *cgroups.Node
}

const (
	// askedShare of the window is the least that the target waits for a peer that matters.
	askedShare = 0.1
	// No more descriptors than these are looked at.
	maxDescriptors = 200_000
	// A longer table of sockets is not read: these are some 25,000.
	maxTable = 4 << 20
)

// question is an address, as it is meant in a network namespace.
type question struct {
	address netip.AddrPort
	netns   uint32
}

// asked are the peers that the target waited for, the most waited for first.
func asked(r tcp.Result) (out []question) {
	for _, p := range r.Peers {
		q := question{p.Addr, p.NetNS}
		if p.Role == tcp.Client && p.Waited+p.UnansweredTime >= time.Duration(askedShare*float64(r.Window)) &&
			!inside(r, p) && !slices.Contains(out, q) && len(out) < topPeers {
			out = append(out, q)
		}
	}
	return out
}

// find answers what it can; pids are the target's own. Nobody found is no error: the
// peer is elsewhere.
func (n neighbours) find(ctx context.Context, questions []question, pids []int) (found []incident.Peer) {
	sockets := map[string]question{} // by inode
	listening := map[string]bool{}
	spaces := map[uint32]bool{}
	tables := map[uint32][]tcpSocket{}
	for _, q := range questions {
		if !spaces[q.netns] {
			pid, ok := n.within(q.netns, pids)
			if !ok || ctx.Err() != nil {
				continue
			}
			spaces[q.netns], tables[q.netns] = true, n.sockets(pid)
		}
		for _, s := range servers(tables[q.netns], q.address) {
			sockets[s.inode] = q
			listening[s.inode] = s.listens
		}
	}
	if len(sockets) == 0 {
		return nil
	}
	holders := n.holders(ctx, sockets, spaces)
	for _, q := range questions {
		if pid := serving(holders, sockets, listening, q); pid != 0 {
			group, _ := n.node.Group(pid)
			found = append(found, incident.Peer{Address: q.address.String(), PID: pid, Cgroup: group})
		}
	}
	return found
}

// within is one of the processes that is in the network namespace.
func (n neighbours) within(netns uint32, pids []int) (int, bool) {
	i := slices.IndexFunc(pids, func(pid int) bool { return n.netns(pid) == netns })
	if i < 0 {
		return 0, false
	}
	return pids[i], true
}

// netns is the namespace of a process, 0 where it is gone.
func (n neighbours) netns(pid int) uint32 {
	link, err := os.Readlink(filepath.Join(n.proc, strconv.Itoa(pid), "ns/net"))
	if err != nil {
		return 0
	}
	id, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), 10, 32)
	return uint32(id)
}

// tcpSocket is a line of /proc/PID/net/tcp.
type tcpSocket struct {
	local   netip.AddrPort
	listens bool
	inode   string
}

// sockets are those of a process's network namespace; none where there are too many.
func (n neighbours) sockets(pid int) (out []tcpSocket) {
	for _, file := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(n.proc, strconv.Itoa(pid), "net", file))
		if err != nil {
			continue // no IPv6, or gone
		}
		b, err := io.ReadAll(io.LimitReader(f, maxTable+1))
		_ = f.Close() // it was read only
		if err != nil || len(b) > maxTable {
			return nil // half an answer could name the wrong one
		}
		for line := range strings.Lines(string(b)) {
			if s, ok := socketOf(strings.Fields(line)); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// socketOf reads "sl local remote state queues timer retransmits uid timeout inode":
// addresses as hexadecimal words in the machine's order, 0A listens.
func socketOf(f []string) (s tcpSocket, ok bool) {
	if len(f) < 10 {
		return s, false
	}
	host, port, _ := strings.Cut(f[1], ":")
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil || len(host) != 8 && len(host) != 32 {
		return s, false
	}
	ip := make([]byte, 0, 16)
	for word := range slices.Chunk([]byte(host), 8) {
		v, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil {
			return s, false
		}
		ip = binary.NativeEndian.AppendUint32(ip, uint32(v))
	}
	addr, _ := netip.AddrFromSlice(ip)
	return tcpSocket{local: netip.AddrPortFrom(addr.Unmap(), uint16(p)), listens: f[3] == "0A", inode: f[9]}, true
}

// servers are the sockets that serve an address: those that listen on it, or on all
// addresses where it is one of this namespace, and the accepted ones.
func servers(all []tcpSocket, address netip.AddrPort) (out []tcpSocket) {
	here := address.Addr().IsLoopback()
	for _, s := range all {
		here = here || s.local == address
	}
	for _, s := range all {
		any := s.listens && s.local.Addr().IsUnspecified() && s.local.Port() == address.Port()
		if s.inode != "0" && (s.local == address || here && any) { // 0: it has ended
			out = append(out, s)
		}
	}
	return out
}

// holders are the processes that have the sockets open, in the namespaces.
func (n neighbours) holders(ctx context.Context, sockets map[string]question, spaces map[uint32]bool) map[int][]string {
	out := map[int][]string{}
	entries, err := os.ReadDir(n.proc)
	if err != nil {
		return out
	}
	looked := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !spaces[n.netns(pid)] {
			continue
		}
		dir := filepath.Join(n.proc, e.Name(), "fd")
		fds, err := names(dir, maxDescriptors-looked+1)
		if err != nil {
			continue // gone
		}
		if looked += len(fds); looked > maxDescriptors || ctx.Err() != nil {
			return map[int][]string{} // half an answer could name the wrong one
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd))
			if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
				if inode = strings.TrimSuffix(inode, "]"); sockets[inode] != (question{}) {
					out[pid] = append(out[pid], inode)
				}
			}
		}
	}
	return out
}

// names are at most limit names in a directory.
func names(dir string, limit int) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := f.Readdirnames(limit)
	if errors.Is(err, io.EOF) { // it is empty
		err = nil
	}
	return found, err
}

// serving is the process that has accepted most connections of those that hold the
// question's sockets, else one that listens.
func serving(holders map[int][]string, sockets map[string]question, listening map[string]bool, q question) (best int) {
	const accepted = 1000 // against listening
	most := 0
	for pid, inodes := range holders {
		weight := 0
		for _, inode := range inodes {
			switch {
			case sockets[inode] != q:
			case listening[inode]:
				weight++
			default:
				weight += accepted
			}
		}
		if weight > most || weight == most && weight > 0 && pid < best {
			best, most = pid, weight
		}
	}
	return best
}
