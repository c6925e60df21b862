package usdt

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// MaxSpecs is how many probes one loaded object can have attached: usdt_specs in usdt.h.
const MaxSpecs = 64

// ErrNoProbe is that of a file without a probe that was asked for.
var ErrNoProbe = errors.New("the program was built without this probe")

// Point is a static tracepoint and what a program reads of it.
type Point struct {
	Provider, Name string
	Arguments      int
}

// Spec is a value of the map usdt_specs: struct usdt_spec in usdt.h.
type Spec struct {
	Arguments Arguments
	Point     uint32
	_         uint32
}

// Attacher attaches the program of one loaded object.
type Attacher struct {
	specs *ebpf.Map
	prog  *ebpf.Program
	multi bool
	used  uint32
	links []link.Link
}

// Prepare is called before a program is loaded. Since 6.6 a program can be
// attached to many points at once, and is detached from them in one grace period
// instead of one each, some tens of milliseconds.
func Prepare(prog *ebpf.ProgramSpec) {
	if features.HaveBPFLinkUprobeMulti() == nil {
		prog.AttachType = ebpf.AttachTraceUprobeMulti
	}
}

// NewAttacher takes a program that was prepared and loaded, and its map usdt_specs.
func NewAttacher(spec *ebpf.ProgramSpec, prog *ebpf.Program, specs *ebpf.Map) *Attacher {
	return &Attacher{specs: specs, prog: prog, multi: spec.AttachType == ebpf.AttachTraceUprobeMulti}
}

// place is one probe to attach.
type place struct {
	probe  Probe
	cookie uint64
}

// Attach runs the program wherever the points are in the file, in every process
// that has the file mapped: a uprobe knows no cgroups, so the program asks
// in_target itself, and it reads the index of the point in its spec. The kernel
// counts the probes' semaphores up in those processes, and down when Close is
// called or this process ends, however it ends.
//
// It is an ErrNoProbe where the file has not all of the points; then none is
// attached.
func (a *Attacher) Attach(f *os.File, object *Object, points ...Point) error {
	var places []place
	for i, point := range points {
		found := len(places)
		for _, p := range object.Probes {
			if p.Provider != point.Provider || p.Name != point.Name {
				continue
			}
			cookie, err := a.tell(object.Machine, p, point, i)
			if err != nil {
				return fmt.Errorf("attaching to %s:%s: %w", point.Provider, point.Name, err)
			}
			places = append(places, place{p, cookie})
		}
		if found == len(places) {
			return fmt.Errorf("attaching to %s:%s: %w", point.Provider, point.Name, ErrNoProbe)
		}
	}
	// The file that was parsed, whatever a name leads to by now, and in
	// whichever mount namespace it is.
	ex, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err == nil && a.multi {
		err = a.all(ex, places)
	} else if err == nil {
		err = a.each(ex, places)
	}
	if err != nil {
		return fmt.Errorf("attaching to %d probes of %s: %w", len(places), points[0].Provider, err)
	}
	return nil
}

// tell puts where the arguments of a probe are where the program finds it.
func (a *Attacher) tell(machine elf.Machine, p Probe, point Point, index int) (cookie uint64, err error) {
	if native := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; machine != native {
		return 0, fmt.Errorf("the program is for %s, this node is %s", machine, runtime.GOARCH)
	}
	spec := Spec{Point: uint32(index)}
	if point.Arguments > 0 {
		var n int
		if spec.Arguments, n, err = ParseArguments(machine, p.Arguments); err != nil {
			return 0, err
		}
		if n < point.Arguments {
			return 0, fmt.Errorf("it has %d arguments, %d are read", n, point.Arguments)
		}
	}
	if a.used == MaxSpecs {
		return 0, fmt.Errorf("more than %d probes at once", MaxSpecs)
	}
	if err := a.specs.Put(a.used, spec); err != nil {
		return 0, fmt.Errorf("storing where its arguments are: %w", err)
	}
	a.used++
	return uint64(a.used - 1), nil
}

func (a *Attacher) all(ex *link.Executable, places []place) error {
	var o link.UprobeMultiOptions
	for _, p := range places {
		o.Addresses = append(o.Addresses, p.probe.Location)
		o.RefCtrOffsets = append(o.RefCtrOffsets, p.probe.Semaphore)
		o.Cookies = append(o.Cookies, p.cookie)
	}
	l, err := ex.UprobeMulti(nil, a.prog, &o)
	if err == nil {
		a.links = append(a.links, l)
	}
	return err
}

func (a *Attacher) each(ex *link.Executable, places []place) error {
	for _, p := range places {
		l, err := ex.Uprobe("", a.prog, &link.UprobeOptions{Address: p.probe.Location, RefCtrOffset: p.probe.Semaphore, Cookie: p.cookie})
		if err != nil {
			return err
		}
		a.links = append(a.links, l)
	}
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
