package cluster

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// drop loses what goes from one address to another, as a network plugin does that
// heeds a NetworkPolicy: this node's heeds none. end gives it back.
func drop(t *testing.T, from, to string) (end func()) {
	t.Helper()
	nft(t, `add table ip kmend_test
add chain ip kmend_test before { type filter hook prerouting priority -300; }
add rule ip kmend_test before ip saddr `+from+` ip daddr `+to+` drop
`)
	ended := false
	end = func() {
		if !ended {
			nft(t, "delete table ip kmend_test\n")
		}
		ended = true
	}
	t.Cleanup(end)
	return end
}

// nft runs Debian's, from the folder that it is unpacked in.
func nft(t *testing.T, commands string) {
	t.Helper()
	dirs, err := debs(context.WithoutCancel(t.Context()), io.Discard, "nftables")
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Glob(filepath.Join(dirs[0], "usr", "lib", "*-linux-gnu"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dirs[0], "usr/sbin/nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}
