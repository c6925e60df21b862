package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/server"
)

// startAgent runs `kmend-agent serve` as a DaemonSet would, with TLS and with the
// rights of deploy/rbac, by which it knows kmend's service account. Further args
// count over its own. What it gives is for kmend, with a token as kmend's pod has.
func startAgent(t *testing.T, args ...string) server.Agent {
	t.Helper()
	grant(t)
	cert, key := selfSigned(t, t.TempDir())
	addr := net.JoinHostPort(node.IP(), "9791")
	p, err := process.Start(process.Spec{Name: "kmend-agent", Path: program(t, "kmend-agent"), Args: append([]string{"serve", "--listen=" + addr,
		"--tls-cert=" + cert, "--tls-key=" + key, "--node-name=" + NodeName, "--socket=",
		"--token-review", "--api-host=" + node.IP(), "--api-port=" + apiPort, "--api-credentials=" + credentials(t, "kmend", "kmend-agent")}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kmend-agent logged:\n%s", p.Tail())
		}
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.WaitFor(ctx, func(ctx context.Context) error { return healthy(ctx, "https://"+addr, cert) }); err != nil {
		t.Fatal(err)
	}
	return server.Agent{Node: NodeName, URL: "https://" + addr, CAFile: cert, TokenFile: tokenOf(t, "kmend", "kmend", "kmend-agent")}
}

func healthy(ctx context.Context, url, ca string) error {
	b, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /healthz: %s", res.Status)
	}
	return nil
}

// selfSigned writes a certificate for the node's address, which is its own CA.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: NodeName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(node.IP())},
		IsCA:        true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kder}} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
