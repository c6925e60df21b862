package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
)

// Options configure the action. The zero value of a field means its default.
type Options struct {
	// Node is the name of this node. A target that names another one is refused. Default: the host name.
	Node string
	// AllowedRoots are the directories in or below which groups may be changed. Default: any cgroup mount.
	AllowedRoots []string
	// CPUs is the most CPUs that a quota may reach. Default: those online.
	CPUs int
	// Proc is where procfs is. Default: /proc.
	Proc string
}

// DefaultOptions are the options for this machine.
func DefaultOptions() (Options, error) {
	o := Options{Proc: "/proc"}
	var err error
	if o.Node, err = os.Hostname(); err != nil {
		return o, fmt.Errorf("reading the host name: %w", err)
	}
	if o.CPUs, err = cpusOnline("/sys/devices/system/cpu/online"); err != nil {
		return o, err
	}
	return o, nil
}

func (o Options) withDefaults() (Options, error) {
	d, err := DefaultOptions()
	if err != nil && (o.Node == "" || o.CPUs == 0) {
		return o, err
	}
	if o.Node == "" {
		o.Node = d.Node
	}
	if o.CPUs == 0 {
		o.CPUs = d.CPUs
	}
	if o.Proc == "" {
		o.Proc = d.Proc
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if o.CPUs < 1 {
		return fmt.Errorf("cgroup options: CPUs is %d, must be at least 1", o.CPUs)
	}
	if !filepath.IsAbs(o.Proc) {
		return fmt.Errorf("cgroup options: Proc is %q, must be an absolute path", o.Proc)
	}
	for i, root := range o.AllowedRoots {
		if !filepath.IsAbs(root) || filepath.Clean(root) != root {
			return fmt.Errorf("cgroup options: AllowedRoots[%d] is %q, must be a clean absolute path", i, root)
		}
	}
	return nil
}
