package symbols

import (
	"sort"
)

// gotab reads the pc tables of a Go program, which also stripped ones have: the
// function at an address, and how far its stack pointer is from the caller's there.
// debug/gosym builds all functions of a program (200,000, 60 MB) to find one, and
// does not know the second; this reads a dozen words for each address.
//
// The format is runtime.pcHeader and runtime._func of Go 1.18 and later; in older
// programs functions are found by their ELF symbols and walked by frame pointers.
type gotab struct {
	offset, size   int64 // of the section
	text           uint64
	count          uint64
	names, pcs, fn int64 // places in the file
	quantum        uint64
	flag           int64 // where _func.flag is
}

const maxGoFuncs = 8 << 20

// newGotab gives nil when the section is not one it can read.
func (f *file) newGotab(offset, size int64, text, module uint64) *gotab {
	magic, err := f.uint32(offset)
	if err != nil || magic != 0xfffffff0 && magic != 0xfffffff1 {
		return nil
	}
	var word [8]uint64
	for i := range word {
		if word[i], err = f.uint64(offset + 8 + 8*int64(i)); err != nil {
			return nil
		}
	}
	var quantum [2]byte
	if _, err := f.ReadAt(quantum[:], offset+6); err != nil || quantum[0] == 0 || quantum[1] != 8 {
		return nil
	}
	t := &gotab{
		offset: offset, size: size, count: word[0], text: word[2], quantum: uint64(quantum[0]),
		names: offset + int64(word[3]), pcs: offset + int64(word[6]), fn: offset + int64(word[7]), flag: 41,
	}
	if magic == 0xfffffff0 { // Go 1.18 and 1.19 have no startLine before it
		t.flag = 37
	}
	for _, at := range []int64{t.names, t.pcs, t.fn} {
		if at < offset || at >= offset+size {
			return nil
		}
	}
	if t.count == 0 || t.count > maxGoFuncs {
		return nil
	}
	// Go 1.26 no longer says where its code begins; runtime.moduledata.text does.
	if t.text == 0 && module != 0 {
		t.text = f.pointer(module + 8 + 6*24 + 3*8)
	}
	if t.text == 0 {
		t.text = text
	}
	return t
}

// entry is functab[i]: where the function begins, from text, and where its _func is.
func (t *gotab) entry(f *file, i uint64) (start, fn uint32, err error) {
	at := t.fn + 8*int64(i)
	if start, err = f.uint32(at); err != nil {
		return 0, 0, err
	}
	fn, err = f.uint32(at + 4)
	return start, fn, err
}

// find gives the function's start and the place of its _func.
func (t *gotab) find(f *file, addr uint64) (start uint64, fn int64, ok bool) {
	if t == nil || addr < t.text || addr-t.text >= 1<<32 {
		return 0, 0, false
	}
	rel := uint32(addr - t.text)
	failed := false
	// functab has one entry more: the end of the last function.
	i := sort.Search(int(t.count)+1, func(i int) bool {
		s, _, err := t.entry(f, uint64(i))
		failed = failed || err != nil
		return s > rel
	})
	if failed || i == 0 || i > int(t.count) {
		return 0, 0, false
	}
	s, off, err := t.entry(f, uint64(i-1))
	if err != nil || int64(off) >= t.offset+t.size-t.fn {
		return 0, 0, false
	}
	return t.text + uint64(s), t.fn + int64(off), true
}

func (t *gotab) lookup(f *file, addr uint64) (symbol, bool) {
	start, fn, ok := t.find(f, addr)
	if !ok {
		return symbol{}, false
	}
	name, err := f.uint32(fn + 4)
	if err != nil || t.names+int64(name) >= t.offset+t.size {
		return symbol{}, false
	}
	return symbol{goName(f.text(t.names+int64(name), maxMangled)), start, Go}, true
}

// spDelta is how far the stack pointer at addr is below where it was when the
// function was entered. Source: pcvalue and step in runtime/symtab.go.
func (t *gotab) spDelta(f *file, addr uint64) (int64, bool) {
	start, fn, ok := t.find(f, addr)
	if !ok {
		return 0, false
	}
	pcsp, err := f.uint32(fn + 16)
	if err != nil || pcsp == 0 {
		return 0, false
	}
	at, pc, value := t.pcs+int64(pcsp), start, int64(-1)
	for first := true; ; first = false {
		delta, n, err := f.uvarint(at)
		if err != nil || delta == 0 && !first || at > t.offset+t.size {
			return 0, false
		}
		at += n
		value += int64(delta>>1) ^ -int64(delta&1)
		step, n, err := f.uvarint(at)
		if err != nil {
			return 0, false
		}
		at += n
		pc += step * t.quantum
		if addr < pc {
			return value, value >= 0 && value < 1<<30
		}
	}
}

// ends reports whether the function at addr is a thread's or goroutine's first, and
// whether it switches stacks: nothing is known of its caller's then.
// Source: abi.FuncFlagTopFrame and abi.FuncFlagSPWrite.
func (t *gotab) ends(f *file, addr uint64) (top, switches bool) {
	_, fn, ok := t.find(f, addr)
	if !ok {
		return false, false
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], fn+t.flag); err != nil {
		return false, false
	}
	return b[0]&1 != 0, b[0]&2 != 0
}
