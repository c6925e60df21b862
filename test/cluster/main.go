package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

const (
	roleEnv = "KMEND_CLUSTER_ROLE" // "", "init" or "inner"
	dirEnv  = "KMEND_CLUSTER_DIR"  // this run's folder
	nodeEnv = "KMEND_CLUSTER_CGROUP"
)

// Main runs a package's tests with a node to be had, and exits. A TestMain
// calls it and does nothing else:
//
//	var node *cluster.Node
//
//	func TestMain(m *testing.M) { cluster.Main(m, &node) }
//
// Tests that call node.Need(t) get the node started; the others just run.
// packages are further Debian packages to have in the cache (test/setup/debs).
func Main(m *testing.M, node **Node, packages ...string) {
	*node = &Node{}
	switch os.Getenv(roleEnv) {
	case "init":
		os.Exit(runInit())
	case "inner":
		os.Exit(runInner(m, *node))
	}
	flag.Parse()
	if f := flag.Lookup("test.list"); testing.Short() || f != nil && f.Value.String() != "" {
		(*node).lacks = "-short: `make test` runs it"
		os.Exit(m.Run())
	}
	if err := supported(); err != nil {
		(*node).lacks = err.Error()
		os.Exit(m.Run())
	}
	code, err := runOuter(packages)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		code = 1
	}
	os.Exit(code)
}

// supported says what this machine lacks to run a node.
func supported() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a Kubernetes node needs root: run the test as root")
	}
	if len(hierarchies()) == 0 {
		return fmt.Errorf("a Kubernetes node needs cgroups with a cpu controller: none is mounted below /sys/fs/cgroup")
	}
	return nil
}

func runOuter(packages []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	files, err := Prepare(ctx, os.Stderr)
	if err != nil {
		return 1, err
	}
	if len(packages) > 0 {
		if _, err := debs(ctx, os.Stderr, packages...); err != nil {
			return 1, err
		}
	}
	run, err := newRun(filepath.Join(files.Cache, "cluster", "run"))
	if err != nil {
		return 1, err
	}
	defer run.remove()
	if err := files.save(run.dir); err != nil {
		return 1, err
	}

	// The kernel sends Pdeathsig when the starting thread ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleEnv+"=init", dirEnv+"="+run.dir, nodeEnv+"="+run.cgroup)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("starting the tests in namespaces of their own: %w", err)
	}
	// When process 1 of a pid namespace ends, the kernel kills the rest and
	// Wait returns only when all of them are gone.
	err = cmd.Wait()
	code = cmd.ProcessState.ExitCode()
	if code < 0 {
		code = 1
	}
	if code != 0 {
		run.keepLogs(filepath.Join(files.Cache, "cluster", "failed"))
	}
	if ctx.Err() != nil {
		return 130, fmt.Errorf("interrupted")
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return code, fmt.Errorf("running the tests in namespaces of their own: %w", err)
	}
	return code, nil
}

// runInner is the process that runs the tests, a child of runInit's.
func runInner(m *testing.M, node *Node) int {
	files, err := loadFiles(os.Getenv(dirEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	node.files, node.dir, node.cgroup = files, os.Getenv(dirEnv), os.Getenv(nodeEnv)
	for _, e := range []string{roleEnv, dirEnv, nodeEnv} {
		os.Unsetenv(e) // a test that runs a test binary gets a fresh one
	}
	os.Setenv("PATH", files.PATH+":"+os.Getenv("PATH"))
	code := m.Run()
	node.stop()
	return code
}
