package threads

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

const btfPath = "/sys/kernel/btf/vmlinux"

// tracepoints the probe attaches to, and the first kernel that has the newest of
// them. The contention ones came last, in 5.19.
var tracepoints = []string{
	"sched_switch", "sched_wakeup", "sched_wakeup_new", "contention_begin", "contention_end",
	"cgroup_mkdir", "cgroup_attach_task",
}

// UnsupportedError says why the probe cannot run here, and what would help.
type UnsupportedError struct {
	What   string // what is missing: "kernel BTF", "privileges", "tracepoint contention_begin"
	Reason string // the kernel's words, or the least kernel that has it
	Do     string // what a person can do
}

func (e *UnsupportedError) Error() string {
	return "probe threads is unsupported here: no " + e.What + " (" + e.Reason + "); " + e.Do
}

// Supported reports whether the probe can run here: nil, or an error that is an
// *UnsupportedError. It reads /proc and /sys and changes nothing; Load asks the
// kernel itself.
func Supported() error { return supported(btf.NewCache()) }

func supported(cache *btf.Cache) error {
	if err := privileged(); err != nil {
		return err
	}
	if _, err := os.Stat(btfPath); err != nil {
		return noBTF(err)
	}
	kernel, err := cache.Kernel()
	if err != nil {
		return noBTF(err)
	}
	for _, name := range tracepoints {
		if _, err := kernel.AnyTypesByName("btf_trace_" + name); err != nil {
			return &UnsupportedError{"tracepoint " + name, "it needs Linux 5.19 or later with CONFIG_TRACEPOINTS",
				"run a newer kernel on this node"}
		}
	}
	return nil
}

func noBTF(err error) error {
	return &UnsupportedError{"kernel BTF", err.Error(),
		"mount /sys into the agent, and run a kernel built with CONFIG_DEBUG_INFO_BTF=y"}
}

func noPrivileges(reason string) error {
	return &UnsupportedError{"privileges", reason,
		"run as root, or give the process CAP_BPF and CAP_PERFMON"}
}

// privileged reads the effective capabilities: loading tracing programs takes
// CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON.
func privileged() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return noPrivileges(err.Error())
	}
	for line := range strings.Lines(string(status)) {
		var caps uint64
		if n, _ := fmt.Sscanf(line, "CapEff: %x", &caps); n != 1 {
			continue
		}
		has := func(c uint) bool { return caps&(1<<c) != 0 }
		if has(unix.CAP_SYS_ADMIN) || has(unix.CAP_BPF) && has(unix.CAP_PERFMON) {
			return nil
		}
	}
	return noPrivileges("neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON")
}

// typed makes what the kernel refuses at load and attach an *UnsupportedError
// where it is one.
func typed(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return err
	case errors.Is(err, fs.ErrPermission):
		if lock, _ := os.ReadFile("/sys/kernel/security/lockdown"); strings.Contains(string(lock), "[confidentiality]") {
			return &UnsupportedError{"permission to read kernel memory", "kernel lockdown is confidentiality",
				"boot this node with lockdown=integrity or none"}
		}
		return noPrivileges(err.Error())
	case errors.Is(err, ebpf.ErrNotSupported):
		return &UnsupportedError{"BPF feature", err.Error(), "run Linux 5.19 or later"}
	}
	return err
}
