package systemd

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Options configure the actions. The zero value of a field means its default.
type Options struct {
	// Node is the name of this node. A target that names another one is refused. Default: the host name.
	Node string
	// Socket is systemd's own D-Bus socket, which answers root. Default: /run/systemd/private.
	Socket string
	// CPUs is the most CPUs that a quota may reach. Default: those that this process may use.
	CPUs int
	// Memory is the most bytes that a limit may reach. Default: the machine's memory.
	Memory uint64
	// Never are patterns (path.Match) of units that are not acted on, whatever a runbook says.
	// Default: what the machine needs to be reached and repaired, and kmend itself.
	Never []string
	// Poll is how often a unit that restarts is looked at. Default: 50ms.
	Poll time.Duration
}

// DefaultOptions are the options for this machine.
func DefaultOptions() (Options, error) {
	o := Options{
		Socket: "/run/systemd/private", CPUs: runtime.NumCPU(), Poll: 50 * time.Millisecond,
		Never: []string{"init.scope", "systemd-*", "dbus*", "ssh*", "user@*", "session-*", "kmend*"},
	}
	var err error
	if o.Node, err = os.Hostname(); err != nil {
		return o, fmt.Errorf("reading the host name: %w", err)
	}
	if o.Memory, err = memory("/proc/meminfo"); err != nil {
		return o, err
	}
	return o, nil
}

func (o Options) withDefaults() (Options, error) {
	d, err := DefaultOptions()
	if err != nil && (o.Node == "" || o.Memory == 0) {
		return o, err
	}
	if o.Node == "" {
		o.Node = d.Node
	}
	if o.Socket == "" {
		o.Socket = d.Socket
	}
	if o.CPUs == 0 {
		o.CPUs = d.CPUs
	}
	if o.Memory == 0 {
		o.Memory = d.Memory
	}
	if o.Never == nil {
		o.Never = d.Never
	}
	if o.Poll == 0 {
		o.Poll = d.Poll
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if !filepath.IsAbs(o.Socket) {
		return fmt.Errorf("systemd options: Socket is %q, must be an absolute path", o.Socket)
	}
	if o.CPUs < 1 {
		return fmt.Errorf("systemd options: CPUs is %d, must be at least 1", o.CPUs)
	}
	if o.Poll < time.Millisecond || o.Poll > time.Second {
		return fmt.Errorf("systemd options: Poll is %s, must be 1ms to 1s", o.Poll)
	}
	for i, pattern := range o.Never {
		if _, err := path.Match(pattern, "x"); err != nil {
			return fmt.Errorf("systemd options: Never[%d] is %q, must be a pattern such as dbus*: %w", i, pattern, err)
		}
	}
	return nil
}

// memory is the machine's memory in bytes.
func memory(file string) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading the machine's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kb, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the machine's memory: %w", err)
			}
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("reading the machine's memory: %s has no MemTotal", file)
}
