package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// maxSecret bounds a file with a password or with certificates.
const maxSecret = 64 << 10

// readFile reads a file that a runbook names.
func readFile(field, path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("with.%s: %q is not an absolute path", field, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("with.%s: %w", field, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("with.%s: %s is not a file", field, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("with.%s: %w", field, err)
	}
	if len(b) > maxSecret {
		return nil, fmt.Errorf("with.%s: %s has more than %d bytes", field, path, maxSecret)
	}
	return b, nil
}

// password reads a password; "" where there is no file. It is read for every
// call, so that a new one counts at once.
func password(field, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := readFile(field, path)
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("with.%s: %s is empty", field, path)
	}
	return s, nil
}

// transport is how to use TLS; nil is without.
func transport(on bool, ca, cert, key string) (*tls.Config, error) {
	if !on && ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		b, err := readFile("caFile", ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("with.caFile: %s holds no PEM certificate", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("with.certFile and with.keyFile go together; one is missing")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("with.certFile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// clean makes what a server said fit to be shown: short, printable and without
// the secrets, which a server knows and might send back.
func clean(s string, secrets ...string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}
