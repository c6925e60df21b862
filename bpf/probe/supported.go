package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

const btfPath = "/sys/kernel/btf/vmlinux"

// UnsupportedError says why the probe cannot run here, and what would help.
type UnsupportedError struct {
	Probe  string // "threads", or empty where it is every probe
	What   string // what is missing: "kernel BTF", "privileges", "tracepoint contention_begin"
	Reason string // the kernel's words, or the least kernel that has it
	Do     string // what a person can do
}

func (e *UnsupportedError) Error() string {
	probe := "eBPF"
	if e.Probe != "" {
		probe = "probe " + e.Probe
	}
	return probe + " is unsupported here: no " + e.What + " (" + e.Reason + "); " + e.Do
}

// Supported reports whether a probe can run here that attaches to these
// tracepoints: nil, or an error that is an *UnsupportedError. It reads /proc and
// /sys and changes nothing; loading asks the kernel itself.
func Supported(name string, tracepoints ...string) error {
	return supported(btf.NewCache(), name, tracepoints...)
}

func supported(cache *btf.Cache, name string, tracepoints ...string) error {
	if err := privileged(name); err != nil {
		return err
	}
	// Not there in another network namespace than the host's: loading asks, too.
	if setting, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable"); err == nil && !jits(setting) {
		return noJIT(name, "net.core.bpf_jit_enable is 0")
	}
	if _, err := os.Stat(btfPath); err != nil {
		return noBTF(name, err)
	}
	kernel, err := cache.Kernel()
	if err != nil {
		return noBTF(name, err)
	}
	for _, tp := range tracepoints {
		if _, err := kernel.AnyTypesByName("btf_trace_" + tp); err != nil {
			return &UnsupportedError{name, "tracepoint " + tp, "this kernel was built without it, or is older than 5.19",
				"run a newer kernel on this node"}
		}
	}
	return nil
}

func noBTF(name string, err error) error {
	return &UnsupportedError{name, "kernel BTF", err.Error(),
		"mount /sys into the agent, and run a kernel built with CONFIG_DEBUG_INFO_BTF=y"}
}

func noPrivileges(name, reason string) error {
	return &UnsupportedError{name, "privileges", reason,
		"run as root, or give the process CAP_BPF and CAP_PERFMON"}
}

// noJIT: the kernel interprets programs then, which may neither call its functions
// (kfuncs) nor have callbacks (bpf_loop).
func noJIT(name, reason string) error {
	return &UnsupportedError{name, "JIT compiler for eBPF", reason,
		"set net.core.bpf_jit_enable=1 on this node (sysctl), or run a kernel built with CONFIG_BPF_JIT=y"}
}

// jits reads the setting net.core.bpf_jit_enable.
func jits(setting []byte) bool { return strings.TrimSpace(string(setting)) != "0" }

// withoutJIT is what the verifier says of kfuncs and callbacks without a JIT compiler.
var withoutJIT = regexp.MustCompile(`JIT is required|not allowed in non-JITed programs`)

// privileged reads the effective capabilities: loading tracing programs takes
// CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON.
func privileged(name string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return noPrivileges(name, err.Error())
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
	return noPrivileges(name, "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON")
}

// typed makes what the kernel refuses at load and attach an *UnsupportedError
// where it is one.
func typed(name string, err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		if i := slices.IndexFunc(verifier.Log, withoutJIT.MatchString); i >= 0 {
			return noJIT(name, verifier.Log[i])
		}
		return err
	case errors.Is(err, fs.ErrPermission):
		if lock, _ := os.ReadFile("/sys/kernel/security/lockdown"); strings.Contains(string(lock), "[confidentiality]") {
			return &UnsupportedError{name, "permission to read kernel memory", "kernel lockdown is confidentiality",
				"boot this node with lockdown=integrity or none"}
		}
		return noPrivileges(name, err.Error())
	case errors.Is(err, ebpf.ErrNotSupported):
		return &UnsupportedError{name, "BPF feature", err.Error(), "run Linux 5.19 or later"}
	}
	return err
}
