package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/test/process"
)

const (
	// NodeName is the name of the one node.
	NodeName  = "node-1"
	criSocket = "/run/containerd/containerd.sock"
	apiPort   = "6443"
)

// Node is the Kubernetes node that a package's tests share. Main makes it;
// Need starts it.
type Node struct {
	lacks  string // why this machine or this run has no node
	files  Files
	dir    string // of this run
	cgroup string // "/kmend-cluster-..."

	once    sync.Once
	err     error
	servers []*process.Process
	client  kubernetes.Interface
}

// Need starts the node when it is not yet running. The test fails when it does
// not come up, and is skipped where there can be none.
func (n *Node) Need(t testing.TB) {
	t.Helper()
	if n.lacks != "" {
		t.Skip(n.lacks)
	}
	n.once.Do(func() { n.err = n.start(t.Context(), t) })
	if n.err != nil {
		t.Fatalf("starting the node: %v", n.err)
	}
	for _, s := range n.servers {
		if err := s.Ended(); err != nil {
			t.Fatalf("the node broke: %v", err)
		}
	}
}

// Kubeconfig is the path of a kubeconfig of user "admin", who may do everything.
// The API server's name in it holds inside the node's network namespace only.
func (n *Node) Kubeconfig(user string) string { return n.kubeconfig(user) }

// Client is the API as admin.
func (n *Node) Client() kubernetes.Interface { return n.client }

// CRISocket is the path of containerd's socket.
func (n *Node) CRISocket() string { return criSocket }

// IP is the node's address.
func (n *Node) IP() string { return nodeIP }

// Cgroup is the cgroup that holds the node's pods, relative to the mount of
// each hierarchy: "/kmend-cluster-...".
func (n *Node) Cgroup() string { return n.cgroup }

func (n *Node) state() string { return stateDir(n.dir) }

// logFile opens the log of one server.
func (n *Node) logFile(name string) (*os.File, error) {
	f, err := os.Create(filepath.Join(n.dir, "logs", name+".log"))
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	return f, nil
}

// stop kills the servers, the last first. Their data are thrown away.
func (n *Node) stop() {
	for i := len(n.servers) - 1; i >= 0; i-- {
		_ = n.servers[i].Kill() // gone already is as good
	}
}
