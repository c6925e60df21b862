package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// nodeIP is the node's address, on the loopback interface of its own network
// namespace. The kubelet refuses 127/8; this is a range for documentation.
const nodeIP = "198.51.100.1"

// apiServiceIP is the address of the Service by which pods find the API server. There
// is no kube-proxy: it is the node's, and Node.serveAPI passes on what comes.
const apiServiceIP = "10.96.0.1"

// runInit is process 1 of the namespaces. It prepares them, starts the process
// that runs the tests, reaps whatever is orphaned, and ends with the tests'
// exit code: then the kernel kills all that is left.
func runInit() int {
	if err := setUpNamespaces(os.Getenv(dirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	env := []string{roleEnv + "=inner"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, roleEnv+"=") {
			env = append(env, e)
		}
	}
	// os.StartProcess and not os/exec, which would wait for the child too.
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster: starting the tests:", err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && pid != tests.Pid:
		case err != nil:
			fmt.Fprintln(os.Stderr, "cluster: waiting for the tests:", err)
			return 1
		case status.Signaled():
			fmt.Fprintln(os.Stderr, "cluster: the tests died of", status.Signal())
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

func setUpNamespaces(dir string) error {
	if err := unix.Sethostname([]byte(NodeName)); err != nil { // as on most nodes
		return fmt.Errorf("setting the host name: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// The folder for the node's state, and the fixed paths of kubelet,
	// containerd and CNI, in memory: nothing of it stays behind.
	for _, d := range []string{stateDir(dir), "/var/log/containers", "/var/log/pods", "/run/netns", "/run/containerd", "/var/lib/cni"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", d, err)
		}
		if err := unix.Mount("kmend-cluster", d, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mounting %s: %w", d, err)
		}
	}
	if err := maskSysctls(filepath.Join(stateDir(dir), "sysctl")); err != nil {
		return err
	}
	return setUpLoopback()
}

func stateDir(dir string) string { return filepath.Join(dir, "state") }

// maskSysctls shows the kubelet files that already hold what it would write to
// three settings of the whole machine.
func maskSysctls(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("masking sysctls: %w", err)
	}
	for name, value := range map[string]string{"vm/overcommit_memory": "1\n", "kernel/panic": "10\n", "kernel/panic_on_oops": "1\n"} {
		fake := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(fake, []byte(value), 0o644); err != nil {
			return fmt.Errorf("masking sysctl %s: %w", name, err)
		}
		if err := unix.Mount(fake, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("masking sysctl %s: %w", name, err)
		}
	}
	return nil
}

// setUpLoopback brings lo up and gives it the node's further addresses.
func setUpLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("setting up the loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("setting up the loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing the loopback up: %w", err)
	}
	for name, address := range map[string]string{"lo:1": nodeIP, "lo:2": apiServiceIP} {
		alias, err := unix.NewIfreq(name)
		if err != nil {
			return fmt.Errorf("setting up the loopback: %w", err)
		}
		ip := netip.MustParseAddr(address).As4()
		if err := alias.SetInet4Addr(ip[:]); err != nil {
			return fmt.Errorf("setting up the loopback: %w", err)
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias); err != nil {
			return fmt.Errorf("giving the loopback %s: %w", address, err)
		}
		if err := alias.SetInet4Addr([]byte{255, 255, 255, 255}); err != nil { // or all of 10.0.0.0/8 is here
			return fmt.Errorf("setting up the loopback: %w", err)
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, alias); err != nil {
			return fmt.Errorf("giving the loopback %s: %w", address, err)
		}
	}
	return nil
}
