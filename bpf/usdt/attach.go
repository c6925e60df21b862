package usdt

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// MaxSpecs is how many probes one loaded object can have attached: usdt_specs in usdt.h.
const MaxSpecs = 64

// ErrNoProbe is that of a file without the probe that was asked for.
var ErrNoProbe = errors.New("the program was built without this probe")

// Attacher attaches the programs of one loaded object.
type Attacher struct {
	Specs *ebpf.Map // usdt_specs
	used  uint32
	links []link.Link
}

// Attach runs prog wherever the probe provider:name is in the file, in every
// process that has the file mapped: a uprobe knows no cgroups, so the program
// asks in_target itself. arguments is how many arguments it reads. The kernel
// counts the probe's semaphore up in those processes, and down when Close is
// called or this process ends, however it ends.
//
// It is an ErrNoProbe where there is no such probe.
func (a *Attacher) Attach(f *os.File, object *Object, provider, name string, prog *ebpf.Program, arguments int) error {
	found := false
	for _, p := range object.Probes {
		if p.Provider != provider || p.Name != name {
			continue
		}
		found = true
		if err := a.attach(f, object.Machine, p, prog, arguments); err != nil {
			return fmt.Errorf("attaching to %s:%s: %w", provider, name, err)
		}
	}
	if !found {
		return fmt.Errorf("attaching to %s:%s: %w", provider, name, ErrNoProbe)
	}
	return nil
}

func (a *Attacher) attach(f *os.File, machine elf.Machine, p Probe, prog *ebpf.Program, arguments int) error {
	if native := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; machine != native {
		return fmt.Errorf("the program is for %s, this node is %s", machine, runtime.GOARCH)
	}
	var spec Spec
	if arguments > 0 {
		var n int
		var err error
		if spec, n, err = ParseArguments(machine, p.Arguments); err != nil {
			return err
		}
		if n < arguments {
			return fmt.Errorf("it has %d arguments, %d are read", n, arguments)
		}
	}
	if a.used == MaxSpecs {
		return fmt.Errorf("more than %d probes at once", MaxSpecs)
	}
	if err := a.Specs.Put(a.used, spec); err != nil {
		return fmt.Errorf("storing where its arguments are: %w", err)
	}
	// The file that was parsed, whatever a name leads to by now, and in
	// whichever mount namespace it is.
	ex, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return err
	}
	l, err := ex.Uprobe("", prog, &link.UprobeOptions{Address: p.Location, RefCtrOffset: p.Semaphore, Cookie: uint64(a.used)})
	if err != nil {
		return err
	}
	a.used++
	a.links = append(a.links, l)
	return nil
}

// Close detaches all of them; the Attacher can be used again.
func (a *Attacher) Close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	a.links, a.used = nil, 0
	return errors.Join(errs...)
}
