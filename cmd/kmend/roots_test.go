package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// An image from scratch has no certificates: Slack and PagerDuty are trusted all the same.
func TestTrustsWithoutASystem(t *testing.T) {
	if os.Getenv("KMEND_TEST_NO_ROOTS") != "" {
		pool, err := x509.SystemCertPool()
		if err != nil || pool.Equal(x509.NewCertPool()) {
			t.Errorf("no certification authority is known: %v", err)
		}
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestTrustsWithoutASystem$") // a process reads them once
	cmd.Env = append(os.Environ(), "KMEND_TEST_NO_ROOTS=1", "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
