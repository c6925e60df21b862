package apiserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/deploy/rbac"
)

// Kmend is kmend's service account, as an API server names it.
const Kmend = "system:serviceaccount:kmend:kmend"

// Grant makes what deploy/rbac says, as it says it, and returns the path of a
// kubeconfig with a token of kmend's service account.
func (s *Server) Grant(t *testing.T) (kubeconfig string) {
	t.Helper()
	config := s.Config(t)
	objects, err := rbac.Objects()
	if err != nil {
		t.Fatal(err)
	}
	Create(t, config, objects...)
	admin, err := client.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := admin.CoreV1().ServiceAccounts("kmend").CreateToken(t.Context(), "kmend", &authentication.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Kubeconfig(t, "kmend", token.Status.Token)
}

// Create creates objects, each as it is and in their order, in the cluster of config.
func Create(t *testing.T, config *rest.Config, objects ...*unstructured.Unstructured) {
	t.Helper()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		resource, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
		if _, err := c.Resource(resource).Namespace(o.GetNamespace()).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatalf("creating %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// Kubeconfig is the path of a kubeconfig of the server, with this token.
func (s *Server) Kubeconfig(t *testing.T, name, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".kubeconfig")
	if err := s.kubeconfig(path, s.Config(t).Host, token); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *Server) kubeconfig(path, host, token string) error {
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]\nusers: [{name: u, user: {token: %q}}]\n", host, s.dir+"/certs/apiserver.crt", token)
	return os.WriteFile(path, []byte(text), 0o600)
}

// AuditLog is where the API server writes a line of JSON for every request of the
// user Audit once it is answered, with the bodies of what was sent.
func (s *Server) AuditLog() string { return filepath.Join(s.dir, "audit.log") }

// audit writes the policy, and is what the API server is told of it.
func (s *Server) audit() ([]string, error) {
	if s.Audit == "" {
		return nil, nil
	}
	policy := filepath.Join(s.dir, "audit.yaml")
	text := fmt.Sprintf("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\n"+
		"rules:\n  - {level: Request, users: [%q]}\n  - {level: None}\n", s.Audit)
	return []string{"--audit-policy-file", policy, "--audit-log-path", s.AuditLog()}, os.WriteFile(policy, []byte(text), 0o600)
}

// Down kills the API server and leaves etcd with what it has stored; up starts it
// again at the same address and waits until it is ready.
func (s *Server) Down(t *testing.T) (up func()) {
	t.Helper()
	if len(s.procs) != 2 || s.config == nil {
		t.Fatal("only an API server without controllers, which was started here, can be restarted")
	}
	if err := s.procs[1].Kill(); err != nil {
		t.Fatal(err)
	}
	s.procs = s.procs[:1]
	return func() {
		t.Helper()
		err := s.run(s.again[0], s.again[1], s.again[2:]...)
		if err == nil {
			err = s.ready(t.Context(), s.config)
		}
		if err != nil {
			t.Fatal(errors.Join(errors.New("starting the API server again"), err))
		}
	}
}
