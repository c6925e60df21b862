package kubernetes_test

import (
	"os"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/test/apiserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

var server apiserver.Server

// cluster is the administrator's configuration of a real API server, without a kubelet.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	return server.Config(t)
}
