package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Certificates are those of an authority made for a test, as files: its own, and a
// pair for whoever listens on 127.0.0.1 (under no name) or connects.
type Certificates struct{ CA, Cert, Key string }

// NewCertificates makes an authority and a pair that it signed.
func NewCertificates(t testing.TB) Certificates {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	}
	authority, leaf := template(1, "a test's authority"), template(2, "a test's server")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf.IPAddresses, leaf.KeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	signer, key := newKey(t), newKey(t)
	sign := func(c *x509.Certificate, k *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &k.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Certificates{write("ca.pem", "CERTIFICATE", sign(authority, signer)), write("cert.pem", "CERTIFICATE", sign(leaf, key)),
		write("key.pem", "EC PRIVATE KEY", private)}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Config are the lines with which a server, its replicas and Sentinels speak TLS
// only. Clients have to show a certificate of the same authority, or need none.
func (c Certificates) Config(clients bool) []string {
	auth := map[bool]string{true: "yes", false: "no"}[clients]
	return []string{"tls-ca-cert-file " + c.CA, "tls-cert-file " + c.Cert, "tls-key-file " + c.Key,
		"tls-replication yes", "tls-auth-clients " + auth}
}

// transport is how a client of the tests speaks to a server with these lines; nil is
// without TLS.
func transport(t testing.TB, config []string) *tls.Config {
	t.Helper()
	var c Certificates
	for _, l := range config {
		for word, to := range map[string]*string{"tls-ca-cert-file ": &c.CA, "tls-cert-file ": &c.Cert, "tls-key-file ": &c.Key} {
			if v, ok := strings.CutPrefix(l, word); ok {
				*to = v
			}
		}
	}
	if c.CA == "" {
		return nil
	}
	authority, err := os.ReadFile(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}
}
