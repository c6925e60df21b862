package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// program copies this binary, which is kmend when it is called so, to where
// every user may run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kmend-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "kmend")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Chmod(0o755), to.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// What this machine cannot do is one line that says what to do, and status 1.
func TestDiagnoseUnable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user and mounting need root; make test runs it as root")
	}
	kmend := program(t)
	for name, c := range map[string]struct {
		attr syscall.SysProcAttr
		args []string
		says []string
	}{
		"not root": {
			syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
			[]string{kmend, "diagnose", "--pid", "1"},
			[]string{"no privileges", "run as root, or give the process CAP_BPF and CAP_PERFMON"},
		},
		"kernel without BTF": { // an empty directory over it, in a mount namespace of its own
			syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
			[]string{"/bin/sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$0" diagnose --pid 1`, kmend},
			[]string{"no kernel BTF", "/sys/kernel/btf/vmlinux", "mount /sys into the agent, and run a kernel built with CONFIG_DEBUG_INFO_BTF=y"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), c.args[0], c.args[1:]...)
			cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = "/", &stdout, &stderr, &c.attr
			err := cmd.Run()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != exitError || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
				t.Fatalf("%v, %s%s; want status %d and one line", err, &stdout, &stderr, exitError)
			}
			for _, say := range c.says {
				if !strings.Contains(stderr.String(), say) {
					t.Errorf("%s; want %q", &stderr, say)
				}
			}
		})
	}
}
