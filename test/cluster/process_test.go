package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// capability is the number of each that a manifest here may name.
var capability = map[corev1.Capability]uint{
	"DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
	"SYSLOG": unix.CAP_SYSLOG, "PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF, "CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
	"SYS_ADMIN": unix.CAP_SYS_ADMIN, "KILL": unix.CAP_KILL, "NET_ADMIN": unix.CAP_NET_ADMIN,
}

// proc is the first process of the pod's one container, as the kernel sees it.
func proc(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	dir, err := node.ContainerCgroup(pod)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(text))
	if len(pids) == 0 {
		t.Fatalf("nothing runs in pod %s", pod.Name)
	}
	return "/proc/" + pids[0]
}

// confined checks what the kernel enforces on the pod's process: the capabilities that
// the manifest names and no other, seccomp, no way to more, and files that it cannot
// change.
func confined(t *testing.T, pod *corev1.Pod, uid string, capabilities ...corev1.Capability) {
	t.Helper()
	dir := proc(t, pod)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	is := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		is[name] = strings.Join(strings.Fields(value), " ")
	}
	var mask uint64
	for _, c := range capabilities {
		n, ok := capability[c]
		if !ok {
			t.Fatalf("the number of capability %s is not known here", c)
		}
		mask |= 1 << n
	}
	want := map[string]string{
		"Uid": strings.Join(slices.Repeat([]string{uid}, 4), " "), "NoNewPrivs": "1", "Seccomp": strconv.Itoa(unix.SECCOMP_MODE_FILTER), "CapInh": fmt.Sprintf("%016x", 0),
		"CapBnd": fmt.Sprintf("%016x", mask), "CapEff": fmt.Sprintf("%016x", mask),
	}
	for name, value := range want {
		if is[name] != value {
			t.Errorf("%s of pod %s is %s, want %s", name, pod.Name, is[name], value)
		}
	}
	mounts, err := os.ReadFile(dir + "/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == "/" && !slices.Contains(strings.Split(f[3], ","), "ro") {
			t.Errorf("the root of pod %s can be written: %s", pod.Name, line)
		}
	}
	if same(t, dir, "net") {
		t.Errorf("pod %s is in the node's network", pod.Name)
	}
}

// same reports whether a process is in the same namespace as this one, the node's.
func same(t *testing.T, dir, kind string) bool {
	t.Helper()
	a, err := os.Readlink(dir + "/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return a == b
}
