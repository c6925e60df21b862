package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/kmend/kmend/bpf/probe"
)

// Recorder is the attached probe. It is not safe for concurrent use.
type Recorder struct {
	all   *ebpf.Collection
	links probe.Links

	cells, long, victims *ebpf.Memory
	sample               *ebpf.Program
	vars                 variables

	ticks       uint32
	at          time.Duration // of the last read
	groups      []group       // by the number of the cell
	raw         []recorderCell
	longTail    uint32
	victimsRead uint32
	overflown   uint64
	kernel      [2]struct{ now, last uint64 } // requests of kernel threads and their time
}

type variables struct {
	tick, highest, longHead, longTail, victimCount, noCell, clockOffset, kernelRequests, kernelRequestNS *ebpf.Variable
}

// Tracepoints of the programs. All but the first may be missing: what they count
// stays 0 then.
var tracepoints = map[string]string{
	recorderProgOnSwitch:           "sched_switch",
	recorderProgOnWakeup:           "sched_wakeup",
	recorderProgOnWakeupNew:        "sched_wakeup_new",
	recorderProgOnMove:             "cgroup_attach_task",
	recorderProgOnMkdir:            "cgroup_mkdir",
	recorderProgOnContentionBegin:  "contention_begin",
	recorderProgOnContentionEnd:    "contention_end",
	recorderProgOnDirectReclaim:    "mm_vmscan_direct_reclaim_begin",
	recorderProgOnDirectReclaimEnd: "mm_vmscan_direct_reclaim_end",
	recorderProgOnMemcgReclaim:     "mm_vmscan_memcg_reclaim_begin",
	recorderProgOnMemcgReclaimEnd:  "mm_vmscan_memcg_reclaim_end",
	recorderProgOnBlockRequest:     "block_getrq",
	recorderProgOnBlockDone:        "block_rq_complete",
	recorderProgOnRetransmit:       "tcp_retransmit_skb",
	recorderProgOnDestroy:          "tcp_destroy_sock",
	recorderProgOnExit:             "sched_process_exit",
}

const name = "recorder"

// Supported reports whether the recorder can run here: nil, or an error that is a
// *probe.UnsupportedError. It reads /proc and /sys and changes nothing.
func Supported() error {
	if err := probe.Supported(name, "sched_switch", "contention_begin"); err != nil {
		return err
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("reading the kernel's BTF: %w", err)
	}
	return supported(kernel)
}

// supported asks for the scheduler's own account of waits.
func supported(kernel *btf.Spec) error {
	if !hasField(kernel, "sched_info", "run_delay") || !hasField(kernel, "task_struct", "sched_task_group") {
		return &probe.UnsupportedError{Probe: name, What: "account of waits for a CPU",
			Reason: "this kernel was built without CONFIG_SCHED_INFO or CONFIG_CGROUP_SCHED",
			Do:     "run a kernel built with CONFIG_SCHEDSTATS=y and CONFIG_FAIR_GROUP_SCHED=y"}
	}
	return nil
}

func hasField(kernel *btf.Spec, structure, field string) bool {
	var s *btf.Struct
	if kernel.TypeByName(structure, &s) != nil {
		return false
	}
	for _, m := range s.Members {
		if m.Name == field {
			return true
		}
	}
	return false
}

// Load loads the recorder and attaches it. The error may be a
// *probe.UnsupportedError.
func Load(o Options) (*Recorder, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := Supported(); err != nil {
		return nil, err
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's BTF: %w", err)
	}
	spec, err := loadRecorder()
	if err != nil {
		return nil, fmt.Errorf("reading the recorder's object: %w", err)
	}
	for prog, tp := range tracepoints {
		if _, err := kernel.AnyTypesByName("btf_trace_" + tp); err != nil {
			delete(spec.Programs, prog)
		}
	}
	if hasField(kernel, "task_struct", "throttled") { // see on_wakeup
		delete(spec.Programs, recorderProgOnWakeup)
		delete(spec.Programs, recorderProgOnWakeupNew)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting the CPUs: %w", err)
	}
	spec.Maps[recorderMapCells].MaxEntries = uint32(o.MaxGroups)
	spec.Maps[recorderMapSlots].MaxEntries = uint32(cpus)
	spec.Maps[recorderMapLogs].MaxEntries *= uint32(cpus)
	tick, err := probe.Tick()
	if err != nil {
		return nil, err
	}
	at, err := probe.Monotonic()
	if err != nil {
		return nil, err
	}
	err = errors.Join(spec.Variables[recorderVarTickNs].Set(uint64(tick)), spec.Variables[recorderVarBegan].Set(uint64(at)))
	if err != nil {
		return nil, fmt.Errorf("setting the recorder's constants: %w", err)
	}
	probe.WithoutCasts(spec, kernel)
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the recorder: %w", typed(err))
	}
	r := &Recorder{all: all, at: at, groups: make([]group, o.MaxGroups), raw: make([]recorderCell, o.MaxGroups)}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.attach(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Recorder) open() error {
	var errs []error
	memory := func(name string) *ebpf.Memory {
		m, err := r.all.Maps[name].Memory()
		errs = append(errs, err)
		return m
	}
	r.cells = memory(recorderMapCells)
	r.long, r.victims = memory(recorderMapLongWaits), memory(recorderMapVictims)
	r.sample = r.all.Programs[recorderProgSampleGroups]
	v := r.all.Variables
	r.vars = variables{
		v[recorderVarTick], v[recorderVarHighest], v[recorderVarLongHead], v[recorderVarLongTail],
		v[recorderVarVictimCount], v[recorderVarNoCell], v[recorderVarClockOffset],
		v[recorderVarKernelRequests], v[recorderVarKernelRequestNs],
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mapping the recorder's tables: %w", err)
	}
	return nil
}

// attach hooks everything, sched_switch last: what it calls on is there then.
func (r *Recorder) attach() (err error) {
	var progs []*ebpf.Program
	for prog := range tracepoints {
		if p := r.all.Programs[prog]; p != nil && prog != recorderProgOnSwitch {
			progs = append(progs, p)
		}
	}
	r.links, err = probe.Attach(append(progs, r.all.Programs[recorderProgOnSwitch])...)
	return err
}

// Close detaches and unloads everything.
func (r *Recorder) Close() error {
	err := r.links.Close()
	r.links = nil
	r.all.Close()
	return err
}

// RunTime is what the attached programs have taken inside the kernel and how often
// they ran, while kernel.bpf_stats_enabled was on. What Read and Open run is CPU
// time of their caller.
func (r *Recorder) RunTime() (took time.Duration, runs uint64, err error) {
	for prog := range tracepoints {
		p := r.all.Programs[prog]
		if p == nil {
			continue
		}
		s, err := p.Stats()
		if err != nil {
			return 0, 0, fmt.Errorf("reading the programs' run time: %w", err)
		}
		took += s.Runtime
		runs += s.RunCount
	}
	return took, runs, nil
}

// typed makes what the kernel refuses a *probe.UnsupportedError where it is one.
func typed(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return err
	case errors.Is(err, fs.ErrPermission):
		return &probe.UnsupportedError{Probe: name, What: "privileges", Reason: err.Error(),
			Do: "run as root, or give the process CAP_BPF and CAP_PERFMON; kernel lockdown must not be confidentiality"}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &probe.UnsupportedError{Probe: name, What: "BPF feature", Reason: err.Error(), Do: "run Linux 5.19 or later"}
	}
	return err
}
