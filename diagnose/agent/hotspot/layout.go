package hotspot

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/kmend/kmend/bpf/usdt"
	"github.com/kmend/kmend/diagnose/agent/symbols"
)

// layout is where a virtual machine keeps what is read. Statics are addresses, all
// else offsets; offsets of fields of Java's own classes are 0 where they are not known.
type layout struct {
	threads                           uint64 // static: ThreadsList*
	length, array                     uint64 // of ThreadsList
	thread, pending, system, identity uint64 // of JavaThread: its object, the monitor, OSThread*, who it is to monitors (0: its address)
	stack, stackSize                  uint64 // of JavaThread; it grows down
	tid                               uint64 // of OSThread
	object, owner                     uint64 // of ObjectMonitor
	oopBase, oopShift                 uint64 // of compressed references; -> the values
	klassBase, klassShift             uint64
	klass, name, size, body           uint64 // of oopDesc, Klass, Symbol

	compressed            bool // references
	classes               bool // the class of an object can be read
	blocker, eetop, holds uint64
}

const (
	maxStructs = 1 << 14 // JDK 17 has 788
	maxObjects = 1 << 20 // symbols that are looked at; libjvm.so has 60,000
	maxStride  = 256
)

// library is the first mapping of libjvm.so's code.
func library(proc string, pid int) (code usdt.Mapping, err error) {
	err = usdt.Mappings(proc, pid, func(m usdt.Mapping) bool {
		if m.Executable && filepath.Base(strings.TrimSuffix(m.Path, " (deleted)")) == "libjvm.so" {
			code = m
		}
		return code.Start == 0
	})
	return code, err
}

// readLayout reads what the virtual machine says about itself.
func readLayout(mem memory, r io.ReaderAt, code usdt.Mapping) (*layout, error) {
	file, err := usdt.NewFile(r)
	if err != nil {
		return nil, err
	}
	first, ok := file.Address(code.Offset)
	if !ok {
		return nil, errors.New("its code is in no segment")
	}
	bias := code.Start - first
	l, err := described(mem, file, bias)
	if err != nil {
		return nil, err
	}
	l.fields(mem, r, bias)
	return l, nil
}

// described reads gHotSpotVMStructs, which is there for debuggers. Source:
// src/hotspot/share/runtime/vmStructs.hpp.
func described(mem memory, file *usdt.File, bias uint64) (*layout, error) {
	var says [7]uint64
	for i, name := range []string{"s", "EntryArrayStride", "EntryTypeNameOffset", "EntryFieldNameOffset", "EntryIsStaticOffset", "EntryOffsetOffset", "EntryAddressOffset"} {
		at, ok, err := file.Symbol("gHotSpotVMStruct" + name)
		if err != nil || !ok {
			return nil, errors.Join(fmt.Errorf("it has no gHotSpotVMStruct%s", name), err)
		}
		if says[i] = mem.word(at + bias); i > 0 && says[i] > maxStride {
			return nil, fmt.Errorf("its gHotSpotVMStruct%s is %d", name, says[i])
		}
	}
	at, stride := says[0], says[1]
	found := map[string]uint64{}
	entry := make([]byte, stride+8)
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(entry[min(says[i], stride):]) }
	for range maxStructs {
		if err := mem.read(at, entry); err != nil {
			return nil, fmt.Errorf("reading its structures: %w", err)
		}
		if field(2) == 0 {
			break
		}
		value := field(5)
		if uint32(field(4)) != 0 {
			value = field(6)
		}
		found[mem.text(field(2))+"::"+mem.text(field(3))] = value
		at += stride
	}
	l := &layout{}
	for _, w := range []struct {
		to    *uint64
		names string // of JDK 17 and later ones
	}{
		{&l.threads, "ThreadsSMRSupport::_java_thread_list"}, {&l.length, "ThreadsList::_length"}, {&l.array, "ThreadsList::_threads"},
		{&l.thread, "JavaThread::_threadObj"}, {&l.pending, "JavaThread::_current_pending_monitor"},
		{&l.system, "JavaThread::_osthread Thread::_osthread"}, {&l.tid, "OSThread::_thread_id"},
		{&l.stack, "JavaThread::_stack_base Thread::_stack_base"}, {&l.stackSize, "JavaThread::_stack_size Thread::_stack_size"},
		{&l.object, "ObjectMonitor::_object"}, {&l.owner, "ObjectMonitor::_owner"},
		{&l.oopBase, "CompressedOops::_narrow_oop._base CompressedOops::_base"},
		{&l.oopShift, "CompressedOops::_narrow_oop._shift CompressedOops::_shift"},
		{&l.klassBase, "CompressedKlassPointers::_narrow_klass._base CompressedKlassPointers::_base"},
		{&l.klassShift, "CompressedKlassPointers::_narrow_klass._shift CompressedKlassPointers::_shift"},
		{&l.klass, "oopDesc::_metadata._compressed_klass oopDesc::_compressed_klass"}, {&l.name, "Klass::_name"},
		{&l.size, "Symbol::_length"}, {&l.body, "Symbol::_body"},
	} {
		ok := false
		for _, name := range strings.Fields(w.names) {
			if v, is := found[name]; is && !ok {
				*w.to, ok = v, true
			}
		}
		if !ok {
			return nil, fmt.Errorf("it does not describe %s", w.names)
		}
	}
	l.identity = found["JavaThread::_monitor_owner_id"]
	l.oopBase, l.klassBase = mem.word(l.oopBase), mem.word(l.klassBase)
	l.oopShift, l.klassShift = mem.half(l.oopShift)&63, mem.half(l.klassShift)&63
	return l, nil
}

// fields reads how objects look: variables that are not described, but named in the
// file.
func (l *layout) fields(mem memory, r io.ReaderAt, bias uint64) {
	const (
		narrow  = "UseCompressedOops"
		classes = "UseCompressedClassPointers"
		compact = "UseCompactObjectHeaders"
		blocker = "_ZN16java_lang_Thread20_park_blocker_offsetE"
		eetop   = "_ZN16java_lang_Thread13_eetop_offsetE"
		holds   = "_ZN54java_util_concurrent_locks_AbstractOwnableSynchronizer13_owner_offsetE"
	)
	at := variables(r, narrow, classes, compact, blocker, eetop, holds)
	flag := func(name string) bool {
		var b [1]byte
		return at[name] != 0 && mem.read(at[name]+bias, b[:]) == nil && b[0] == 1
	}
	offset := func(name string) uint64 {
		if at[name] == 0 {
			return 0
		}
		v := mem.half(at[name] + bias)
		if v > 4096 {
			return 0
		}
		return v
	}
	l.compressed = flag(narrow)
	l.classes = at[narrow] != 0 && flag(classes) && !flag(compact)
	l.blocker, l.eetop, l.holds = offset(blocker), offset(eetop), offset(holds)
}

// variables finds variables in .symtab by name. A file without has none.
func variables(r io.ReaderAt, names ...string) (found map[string]uint64) {
	found = map[string]uint64{}
	defer func() { _ = recover() }() // debug/elf, of a file that is not well-formed
	const block = 4096
	f, err := symbols.Headers(r)
	if err != nil {
		return found
	}
	wanted := map[string]bool{}
	longest := 0
	for _, n := range names {
		wanted[n], longest = true, max(longest, len(n))
	}
	table := f.Section(".symtab")
	if table == nil || int(table.Link) >= len(f.Sections) || table.Flags&elf.SHF_COMPRESSED != 0 {
		return found
	}
	text := f.Sections[table.Link].Offset
	b, name := make([]byte, block*elf.Sym64Size), make([]byte, longest+1)
	for at, end := table.Offset, table.Offset+min(table.FileSize, maxObjects*elf.Sym64Size); at < end && len(found) < len(names); at += uint64(len(b)) {
		n, _ := r.ReadAt(b[:min(end-at, uint64(len(b)))], int64(at))
		for s := b[:n-n%elf.Sym64Size]; len(s) > 0; s = s[elf.Sym64Size:] {
			// Elf64_Sym: name, info, other, shndx, value, size.
			if size := binary.LittleEndian.Uint64(s[16:]); elf.ST_TYPE(s[4]) != elf.STT_OBJECT || size != 1 && size != 4 {
				continue
			}
			n, _ := r.ReadAt(name, int64(text+uint64(binary.LittleEndian.Uint32(s))))
			if is, _, ok := strings.Cut(string(name[:n]), "\x00"); ok && wanted[is] {
				found[is] = binary.LittleEndian.Uint64(s[8:])
			}
		}
	}
	return found
}
