package redis

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/kmend/kmend/test/process"
)

// StartCluster starts a Cluster of three masters, which are the first three, and
// a replica of each, in that order. It returns once all agree. With
// Certificates.Config its bus speaks TLS, too.
func StartCluster(t testing.TB, config ...string) []*Server {
	t.Helper()
	nodes, bus := make([]*Server, 6), make([]string, 6)
	if transport(t, config) != nil {
		config = append([]string{"tls-cluster yes"}, config...)
	}
	for i := range nodes {
		addr, err := process.FreeAddr()
		if err != nil {
			t.Fatal(err)
		}
		_, bus[i], _ = net.SplitHostPort(addr)
		nodes[i] = Start(t, append(append(quick(), "cluster-enabled yes", "cluster-node-timeout 2000",
			"cluster-config-file nodes.conf", "cluster-port "+bus[i]), config...)...)
	}
	for i, n := range nodes {
		n.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < 3 {
			n.Do("CLUSTER", "ADDSLOTSRANGE", i*5461, []int{5460, 10921, 16383}[i])
		}
	}
	for i, n := range nodes[1:] {
		host, port, _ := net.SplitHostPort(n.Addr)
		nodes[0].Do("CLUSTER", "MEET", host, port, bus[i+1])
	}
	agree := func(what, field, want string) {
		for _, n := range nodes {
			n.Until(what, func() error {
				info, err := n.Client.ClusterInfo(t.Context()).Result()
				if got := fields(info)[field]; got != want {
					return errors.Join(fmt.Errorf("%s is %q at %s", field, got, n.Addr), err)
				}
				return nil
			})
		}
	}
	agree("all have met", "cluster_known_nodes", "6")
	for i, n := range nodes[3:] {
		master := fmt.Sprint(nodes[i].Do("CLUSTER", "MYID"))
		n.Until("it replicates", func() error { return n.Client.ClusterReplicate(t.Context(), master).Err() })
	}
	for _, n := range nodes[3:] {
		n.has("master_link_status", "up")
	}
	for _, n := range nodes {
		n.Until("it knows the replicas", func() error {
			text, err := n.Client.ClusterNodes(t.Context()).Result()
			if strings.Count(text, "slave") != 3 || strings.Count(text, " connected") != 6 {
				return errors.Join(errors.New(text), err)
			}
			return nil
		})
	}
	agree("it serves", "cluster_state", "ok")
	agree("all slots are known", "cluster_size", "3")
	return nodes
}

func fields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		out[k] = v
	}
	return out
}
