package investigate

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Addresses knows whose an address is, in the cluster (diagnose/workloads).
type Addresses interface {
	// ByAddress are the running pods behind it: one, or those of a Service; of another
	// address, none.
	ByAddress(ctx context.Context, ip netip.Addr) ([]incident.Target, error)
}

// waited is a peer that threads of a hop wait for.
type waited struct {
	address netip.AddrPort
	ms      float64
}

// slowPeers are those of the hop's first finding, the most waited for first. A hop
// with another cause of its own waits for that one in the first place.
func slowPeers(d incident.Diagnosis) (out []waited) {
	f, ok := d.RootCause()
	if !ok || f.Cause != incident.NetPeerSlow {
		return nil
	}
	for _, e := range d.Evidence {
		if e.Probe != "tcp" || e.Metric != "waited" && e.Metric != "unanswered_time" || !slices.Contains(f.Evidence, e.ID) {
			continue
		}
		address, err := netip.ParseAddrPort(e.Subject)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(out, func(w waited) bool { return w.address == address })
		if i < 0 {
			i = len(out)
			out = append(out, waited{address: address})
		}
		out[i].ms += e.Value
	}
	slices.SortStableFunc(out, func(a, b waited) int { return int(b.ms) - int(a.ms) })
	return out
}

// peer is who is behind the first address that a leg waits for of those that are
// known and were not asked yet.
func (w *walk) peer(ctx context.Context, l leg) (behind []incident.Target, why string) {
	for _, p := range slowPeers(*l.diagnosis) {
		if t, ok := beside(*l.diagnosis, p.address); ok {
			behind = []incident.Target{t}
		} else {
			behind = w.resolve(ctx, p.address)
		}
		for i := range behind {
			behind[i].Cluster = l.Target.Cluster
		}
		behind = slices.DeleteFunc(behind, w.visited)
		if len(behind) > 0 {
			return behind[:min(len(behind), w.opts.MaxPods)], fmt.Sprintf("threads waited %.0f ms for %s", p.ms, p.address)
		}
	}
	return nil, ""
}

// beside is the process that serves an address on the hop's own node, as its agent
// says: the group that it is in, unless the hop itself is in that.
func beside(d incident.Diagnosis, address netip.AddrPort) (t incident.Target, ok bool) {
	i := slices.IndexFunc(d.Peers, func(p incident.Peer) bool { return p.Address == address.String() })
	if i < 0 || d.Node.Name == "" {
		return t, false
	}
	p := d.Peers[i]
	t.Node = d.Node.Name
	if strings.Contains(p.Cgroup, "kubepods") { // what is in a pod is the kubelet's, and known by the pod
		uid := d.Target.PodUID
		if uid == "" || !strings.Contains(strings.ReplaceAll(p.Cgroup, "_", "-"), uid) {
			return incident.Target{}, false
		}
		return incident.Target{Node: d.Node.Name, Namespace: d.Target.Namespace, Pod: d.Target.Pod, PodUID: uid}, d.Target.Container != "" && d.Target.Pod != ""
	}
	if path.IsAbs(p.Cgroup) && path.Clean(p.Cgroup) == p.Cgroup && p.Cgroup != d.Target.Cgroup {
		t.Cgroup = p.Cgroup
		return t, true
	}
	t.PID = p.PID
	return t, p.PID > 0
}

// resolve asks the cluster whose an address is.
func (w *walk) resolve(ctx context.Context, address netip.AddrPort) (pods []incident.Target) {
	if w.opts.Addresses == nil || address.Addr().IsLoopback() {
		return nil
	}
	_ = w.asked(ctx, "kubernetes", func(ctx context.Context) (err error) { // who asks goes without
		pods, err = w.opts.Addresses.ByAddress(ctx, address.Addr())
		return err
	})
	return slices.Clone(pods)
}

// Names knows the pods that a name in a trace means, in the cluster (diagnose/workloads).
type Names interface {
	// ByName are running pods; near is the namespace of whoever calls them.
	ByName(ctx context.Context, name, near string) ([]incident.Target, error)
}

// called asks the cluster which pods have a service's name.
func (w *walk) called(ctx context.Context, name, near string) (pods []incident.Target) {
	names, ok := w.opts.Workloads.(Names)
	if !ok {
		return nil
	}
	_ = w.asked(ctx, "kubernetes", func(ctx context.Context) (err error) { // as with addresses
		pods, err = names.ByName(ctx, name, near)
		return err
	})
	return slices.Clone(pods)
}

// visited reports whether a target is one of the hops already, by whatever name: the
// services of a circle wait for one another.
func (w *walk) visited(t incident.Target) bool {
	return slices.ContainsFunc(w.legs, func(l leg) bool {
		if l.Target.Key() == t.Key() {
			return true
		}
		d := l.diagnosis
		if d == nil {
			return false
		}
		sameNode := t.Node == "" || d.Node.Name == "" || incident.SameNode(t.Node, d.Node.Name)
		return sameNode && (t.Cgroup != "" && t.Cgroup == d.Target.Cgroup || t.PID != 0 && t.PID == d.Target.PID)
	})
}
