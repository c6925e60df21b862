package kubernetes_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/test/apiserver"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they wait for controllers, not for the CPU
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := m.Run()
	server.Stop()
	if f := flag.Lookup("test.run"); code == 0 && f.Value.String() == "" {
		code = unneeded()
	}
	os.Exit(code)
}

var server = apiserver.Server{Controllers: true}

// cluster is the administrator's configuration of a real API server, without a kubelet.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	return server.Config(t)
}
