package probe

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Target says whose threads are measured: those in any of Cgroups or of any of
// PIDs. At least one is set. Kernel threads are never part of it.
type Target struct {
	// Cgroups are paths of cgroup directories, all of one hierarchy: v2, or any
	// of v1. Every cgroup below them belongs to the target, those made during the
	// window too.
	Cgroups []string
	// PIDs are process ids in the initial pid namespace. Their children are not
	// part of the target.
	PIDs []int
}

// Members is the target as the kernel knows it: the tables that every probe
// loaded with it asks. It holds one target at a time and is not safe for
// concurrent use, except for Load.
type Members struct {
	objs   membersObjects
	cache  *btf.Cache
	kernel *btf.Spec
	links  Links
}

// MinGroups and MaxGroups bound the size of a Members' tables.
const (
	MinGroups = 16
	MaxGroups = 1 << 20
)

// NewMembers loads the tables, for up to groups cgroup directories and as many
// processes. The error may be an *UnsupportedError.
func NewMembers(groups int) (*Members, error) {
	if groups < MinGroups || groups > MaxGroups {
		return nil, fmt.Errorf("the tables of the target are for %d groups, allowed are %d to %d", groups, MinGroups, MaxGroups)
	}
	m := &Members{cache: btf.NewCache()}
	if err := supported(m.cache, "", tracepoints...); err != nil {
		return nil, err
	}
	var err error
	if m.kernel, err = m.cache.Kernel(); err != nil {
		return nil, noBTF("", err)
	}
	spec, err := loadMembers()
	if err != nil {
		return nil, fmt.Errorf("reading the target's object: %w", err)
	}
	for _, name := range []string{membersMapTargetCgroups, membersMapTargetProcesses} {
		spec.Maps[name].MaxEntries = uint32(groups)
	}
	WithoutCasts(spec, m.kernel)
	if err := spec.LoadAndAssign(&m.objs, &ebpf.CollectionOptions{Cache: m.cache}); err != nil {
		return nil, fmt.Errorf("loading the target's tables: %w", typed("", err))
	}
	return m, nil
}

// tracepoints that Members attaches to.
var tracepoints = []string{"cgroup_mkdir", "sched_process_fork"}

// Load loads a probe's object with the tables of m in place of its own. What the
// kernel refuses is an *UnsupportedError where it is one.
func (m *Members) Load(spec *ebpf.CollectionSpec, objs any, name string) error {
	shared := map[string]*ebpf.Map{
		membersMapTheTarget:       m.objs.TheTarget,
		membersMapTargetCgroups:   m.objs.TargetCgroups,
		membersMapTargetProcesses: m.objs.TargetProcesses,
	}
	maps.DeleteFunc(shared, func(name string, _ *ebpf.Map) bool { return spec.Maps[name] == nil })
	for name, s := range shared {
		spec.Maps[name].MaxEntries = s.MaxEntries()
	}
	WithoutCasts(spec, m.kernel)
	err := spec.LoadAndAssign(objs, &ebpf.CollectionOptions{MapReplacements: shared, Cache: m.cache})
	if err != nil {
		return fmt.Errorf("loading probe %s: %w", name, typed(name, err))
	}
	return nil
}

// Kernel is the BTF of the kernel that runs.
func (m *Members) Kernel() *btf.Spec { return m.kernel }

// Set makes t the target. A directory or process that does not exist is an error
// that is fs.ErrNotExist. Clear ends it, also after an error.
func (m *Members) Set(t Target) (err error) {
	if err := m.Clear(); err != nil {
		return err
	}
	if m.links, err = Attach(m.objs.OnCgroupMkdir, m.objs.OnFork); err != nil {
		return err
	}
	return m.tell(t)
}

// Clear detaches and forgets the target.
func (m *Members) Clear() error {
	err := m.links.Close()
	m.links = nil
	return errors.Join(err,
		m.objs.TheTarget.Put(uint32(0), membersTarget{}),
		ClearMap[uint64](m.objs.TargetCgroups),
		ClearMap[uint32](m.objs.TargetProcesses),
		m.objs.Lost.Set(uint64(0)),
	)
}

// Lost counts cgroups and processes of the target for which the tables had no
// room since Set: the probes did not see them.
func (m *Members) Lost() (n uint64, err error) {
	err = m.objs.Lost.Get(&n)
	return n, err
}

// Close unloads the tables, those of the probes that share them last.
func (m *Members) Close() error { return errors.Join(m.links.Close(), m.objs.Close()) }
