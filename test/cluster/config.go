package cluster

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed conf
var conf embed.FS

// user is somebody the API server knows by a static token. The tokens are no
// secret: the server listens in a private network namespace only.
type user struct{ name, groups string }

func users() []user {
	return []user{
		{"admin", "system:masters"},
		{"system:kube-controller-manager", ""},
		{"system:kube-scheduler", ""},
		{"system:node:" + NodeName, "system:nodes"},
	}
}

func (u user) token() string { return "token-of-" + u.name }

// kubeconfig is the path of the user's kubeconfig.
func (n *Node) kubeconfig(name string) string {
	return filepath.Join(n.state(), "conf", strings.ReplaceAll(name, ":", "-")+".kubeconfig")
}

// writeConfig writes everything that the servers read.
func (n *Node) writeConfig() error {
	dir := filepath.Join(n.state(), "conf")
	for _, d := range []string{filepath.Join(dir, "cni"), filepath.Join(n.state(), "podlogs"), filepath.Join(n.state(), "kubelet")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", d, err)
		}
	}
	values := map[string]string{
		"State": n.state(), "CNI": n.files.CNI, "Cgroup": n.cgroup, "CRISocket": criSocket, "PauseImage": pauseImage,
		"Server": "https://localhost:" + apiPort, "CA": filepath.Join(n.state(), "certs", "apiserver.crt"),
	}
	for from, to := range map[string]string{"containerd.toml": "containerd.toml", "kubelet.yaml": "kubelet.yaml", "cni.conflist": "cni/10-ptp.conflist"} {
		if err := render(from, filepath.Join(dir, to), values); err != nil {
			return err
		}
	}
	var tokens strings.Builder
	for _, u := range users() {
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", u.token(), u.name, u.name, u.groups)
		values["Token"] = u.token()
		if err := render("kubeconfig.yaml", n.kubeconfig(u.name), values); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(tokens.String()), 0o600); err != nil {
		return fmt.Errorf("writing tokens: %w", err)
	}
	return writeServiceAccountKey(filepath.Join(dir, "sa.key"))
}

func render(name, path string, values map[string]string) error {
	t, err := template.ParseFS(conf, "conf/"+name)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Option("missingkey=error").Execute(&b, values); err != nil {
		return fmt.Errorf("filling in %s: %w", name, err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// writeServiceAccountKey writes the key that signs service account tokens; the
// API server takes the private key for checking them too.
func writeServiceAccountKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making the service account key: %w", err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("writing the service account key: %w", err)
	}
	return nil
}
