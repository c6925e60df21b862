// Package apiserver runs a real Kubernetes API server for tests, with etcd and
// without a kubelet: the tests write the status of pods as a kubelet would.
package apiserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/test/process"
)

// Server is etcd and kube-apiserver, started by the first test that asks. The
// zero Server is ready for use; its package's TestMain stops it.
type Server struct {
	Controllers bool // start the controllers of workloads, budgets, Jobs and endpoints too
	// Audit is a user whose requests the API server writes down, see AuditLog; empty: nobody's.
	Audit string

	once   sync.Once
	config *rest.Config
	err    error
	dir    string
	procs  []*process.Process
	again  []string // what the API server was started with
}

// Config is the administrator's configuration of a real API server: the one of
// KMEND_TEST_KUBECONFIG, else etcd and kube-apiserver on loopback, from the binary
// that test/cluster builds into the cache (`make test` builds it first).
func (s *Server) Config(t *testing.T) *rest.Config {
	t.Helper()
	if path := os.Getenv("KMEND_TEST_KUBECONFIG"); path != "" {
		c, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cache, err := process.Cache()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(cache, "cluster", "bin", "kubeone") // etcd and the Kubernetes servers in one program
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("no %s: test/cluster builds it; runs in `make test`", binary)
	}
	s.once.Do(func() {
		// Somebody else may take a port between asking for it and using it: once more with others.
		if s.config, s.err = s.start(t.Context(), binary); s.err != nil {
			t.Logf("starting the API server again: %v", s.err)
			s.Stop()
			s.config, s.err = s.start(t.Context(), binary)
		}
	})
	if s.err != nil {
		t.Fatalf("starting the API server: %v", s.err)
	}
	return rest.CopyConfig(s.config)
}

func (s *Server) start(ctx context.Context, binary string) (*rest.Config, error) {
	var err error
	if s.dir, err = os.MkdirTemp("", "kmend-apiserver-"); err != nil {
		return nil, err
	}
	var at [3]string // etcd, its peers, the API server
	for i := range at {
		if at[i], err = process.FreeAddr(); err != nil {
			return nil, err
		}
	}
	etcd, peer := "http://"+at[0], "http://"+at[1]
	_, port, err := net.SplitHostPort(at[2])
	if err != nil {
		return nil, err
	}
	if err := s.keys(); err != nil {
		return nil, err
	}
	if err := s.run(binary, "etcd", "--data-dir", s.dir+"/etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--unsafe-no-fsync"); err != nil {
		return nil, err
	}
	audit, err := s.audit()
	if err != nil {
		return nil, err
	}
	s.again = append([]string{binary, "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", port, "--cert-dir", s.dir + "/certs", "--token-auth-file", s.dir + "/tokens.csv", "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", s.dir + "/sa.pub",
		"--service-account-signing-key-file", s.dir + "/sa.key", "--service-cluster-ip-range", "10.96.0.0/16",
		// Nobody makes service accounts here.
		"--disable-admission-plugins", "ServiceAccount"}, audit...)
	if err := s.run(s.again[0], s.again[1], s.again[2:]...); err != nil {
		return nil, err
	}
	config := &rest.Config{Host: "https://" + at[2], BearerToken: "admin", QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: s.dir + "/certs/apiserver.crt"}}
	if err := s.ready(ctx, config); err != nil || !s.Controllers {
		return config, err
	}
	return config, s.manage(binary, config.Host)
}

// manage starts the controllers. There is no node lifecycle, no garbage
// collection and no scheduler: the tests are the nodes.
func (s *Server) manage(binary, host string) error {
	kubeconfig := filepath.Join(s.dir, "admin.yaml")
	if err := s.kubeconfig(kubeconfig, host, "admin"); err != nil {
		return err
	}
	return s.run(binary, "kube-controller-manager", "--kubeconfig", kubeconfig, "--leader-elect=false", "--secure-port", "0",
		"--kube-api-qps", "200", "--kube-api-burst", "400", "--use-service-account-credentials=false", "--controllers",
		"deployment-controller,replicaset-controller,statefulset-controller,disruption-controller,job-controller,endpointslice-controller")
}

// run starts one of the servers.
func (s *Server) run(binary, name string, args ...string) error {
	p, err := process.Start(process.Spec{Name: name, Path: binary, Args: append([]string{name}, args...), Dir: s.dir})
	if err == nil {
		s.procs = append(s.procs, p)
	}
	return err
}

// ready waits for the API server, which is the last that was started.
func (s *Server) ready(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 90*time.Second, errors.New("not ready after 90 s"))
	defer cancel()
	return s.procs[len(s.procs)-1].WaitFor(ctx, func(ctx context.Context) error {
		c, err := client.NewForConfig(config)
		if err != nil {
			return err // the certificate is not written yet
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err = c.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return errors.Join(err, s.procs[0].Ended()) // etcd
	})
}

// keys writes the administrator's token and the key pair of service accounts.
func (s *Server) keys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	var private, pub bytes.Buffer
	return errors.Join(
		pem.Encode(&private, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		pem.Encode(&pub, &pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		os.WriteFile(s.dir+"/sa.key", private.Bytes(), 0o600),
		os.WriteFile(s.dir+"/sa.pub", pub.Bytes(), 0o600),
		os.WriteFile(s.dir+"/tokens.csv", []byte(`admin,admin,admin,"system:masters"`+"\n"), 0o600),
	)
}

// Main runs a package's tests and ends what they started.
func (s *Server) Main(m *testing.M) {
	code := m.Run()
	s.Stop()
	os.Exit(code)
}

// Stop ends what was started; its data are thrown away.
func (s *Server) Stop() {
	for _, p := range slices.Backward(s.procs) {
		_ = p.Kill() // it may have ended
	}
	s.procs = nil
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
