package symbols

import (
	"cmp"
	"debug/elf"
	"errors"
	"slices"
	"sort"
)

const (
	maxEntry    = 64 << 10 // bytes of one CIE or FDE
	maxIndexed  = 1 << 19  // FDEs of a file without an index of its own
	maxUnsorted = 64 << 20 // bytes of such a section
)

// frameTable finds the unwind entry (FDE) of an address: by the linker's sorted
// index (.eh_frame_hdr), of which a search reads a few words, or by one made here.
// github.com/go-delve/delve/pkg/dwarf/frame reads all entries of a file first and
// panics on broken ones; with 200,000 of them and a budget, neither will do.
type frameTable struct {
	// of .eh_frame_hdr
	at    int64
	vaddr uint64
	count int
	// of a section without one
	made  []made
	debug bool // of .debug_frame
	base  int64
}

type made struct {
	start, end uint64
	at         int64
}

// entry is an FDE with what its CIE says.
type entry struct {
	start, end uint64
	program    []byte
	initial    []byte
	codeAlign  uint64
	dataAlign  int64
	returnReg  uint64
	signal     bool
	pointers   byte // how DW_CFA_set_loc's are encoded
	programAt  uint64
}

var errFrame = errors.New("its unwind table is not valid")

func (f *file) openFrames() *frameTable {
	for _, p := range f.loads {
		if p.Type != elf.PT_GNU_EH_FRAME {
			continue
		}
		head, err := f.uint32(int64(p.Off))
		if err != nil || head != 0x3b031b01 { // version 1, pcrel sdata4, udata4, datarel sdata4: what every linker writes
			break
		}
		n, err := f.uint32(int64(p.Off) + 8)
		if err != nil || uint64(n)*8 > p.Filesz {
			break
		}
		return &frameTable{at: int64(p.Off) + 12, vaddr: p.Vaddr, count: int(n)}
	}
	for _, s := range f.framed {
		if t := f.indexFrames(s); t != nil {
			return t
		}
	}
	return nil
}

// find gives the entry that covers an address.
func (f *file) entryOf(vaddr uint64) (entry, error) {
	if !f.frameOK {
		f.frames, f.frameOK = f.openFrames(), true
	}
	t := f.frames
	if t == nil {
		return entry{}, errFrame
	}
	var at int64
	if t.made != nil {
		i := sort.Search(len(t.made), func(i int) bool { return t.made[i].end > vaddr })
		if i == len(t.made) || t.made[i].start > vaddr {
			return entry{}, errFrame
		}
		at = t.made[i].at
	} else {
		failed := false
		word := func(i, j int) uint64 {
			v, err := f.uint32(t.at + 8*int64(i) + 4*int64(j))
			failed = failed || err != nil
			return t.vaddr + uint64(int64(int32(v)))
		}
		i := sort.Search(t.count, func(i int) bool { return word(i, 0) > vaddr })
		if i == 0 {
			return entry{}, errFrame
		}
		place, ok := f.place(word(i-1, 1))
		if failed || !ok {
			return entry{}, errFrame
		}
		at = place
	}
	e, err := f.readEntry(at, t)
	if err != nil || vaddr < e.start || vaddr >= e.end {
		return entry{}, errFrame
	}
	return e, nil
}

// record reads the length and the rest of a CIE or FDE.
func (f *file) record(at int64) (c cursor, next int64, err error) {
	n, err := f.uint32(at)
	if err != nil || n < 4 || n > maxEntry {
		return c, 0, errFrame
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at+4); err != nil {
		return c, 0, errFrame
	}
	return cursor{b: b, at: f.vaddrOf(at + 4)}, at + 4 + int64(n), nil
}

// vaddrOf is the address of a place in the file; 0 if it is not loaded.
func (f *file) vaddrOf(at int64) uint64 {
	for _, p := range f.loads {
		if p.Type == elf.PT_LOAD && uint64(at) >= p.Off && uint64(at)-p.Off < p.Filesz {
			return uint64(at) - p.Off + p.Vaddr
		}
	}
	return 0
}

func (f *file) readEntry(at int64, t *frameTable) (e entry, err error) {
	c, _, err := f.record(at)
	if err != nil {
		return e, err
	}
	id := int64(c.fixed(4))
	cie := at + 4 - id
	if t.debug {
		cie = t.base + id
	}
	if c.bad || !t.debug && id == 0 || cie < 0 || cie == at {
		return e, errFrame
	}
	augmented, err := f.readCIE(cie, t.debug, &e)
	if err != nil {
		return e, err
	}
	e.start = c.pointer(e.pointers)
	e.end = e.start + c.pointer(e.pointers&0x0f)
	if augmented {
		c.block()
	}
	e.program, e.programAt = c.b, c.at
	if c.bad || e.end < e.start {
		return e, errFrame
	}
	return e, nil
}

// readCIE fills in the common part. Source: DWARF 5, 6.4.1, and LSB's augmentations.
func (f *file) readCIE(at int64, debug bool, e *entry) (augmented bool, err error) {
	c, _, err := f.record(at)
	if err != nil {
		return false, err
	}
	id, version, letters := c.fixed(4), c.u8(), c.text()
	if debug != (id == 0xffffffff) || !debug && id != 0 || version != 1 && version != 3 && version != 4 {
		return false, errFrame
	}
	if version == 4 {
		c.take(2) // sizes of an address and of a segment selector
	}
	e.codeAlign, e.dataAlign = c.uleb(), c.sleb()
	if version == 1 {
		e.returnReg = uint64(c.u8())
	} else {
		e.returnReg = c.uleb()
	}
	for i := range len(letters) {
		switch letters[i] {
		case 'z':
			if i != 0 {
				return false, errFrame
			}
			augmented = true
			data := c.block()
			rest := cursor{b: data, at: c.at - uint64(len(data)), bad: c.bad}
			if !rest.augmentation(letters[1:], e) {
				return false, errFrame
			}
		default:
			if !augmented {
				return false, errFrame
			}
		}
	}
	e.initial = c.b
	if c.bad {
		return false, errFrame
	}
	return augmented, nil
}

func (c *cursor) augmentation(letters string, e *entry) bool {
	for _, l := range letters {
		switch l {
		case 'R':
			e.pointers = c.u8()
		case 'P':
			c.pointer(c.u8() & 0x0f)
		case 'L':
			c.u8()
		case 'S':
			e.signal = true
		case 'B':
		default:
			return !c.bad // what follows is not needed to walk
		}
	}
	return !c.bad
}

// indexFrames makes the index that the file does not have.
func (f *file) indexFrames(s elf.SectionHeader) *frameTable {
	if s.Type == elf.SHT_NOBITS || s.FileSize > maxUnsorted {
		return nil
	}
	t := &frameTable{debug: s.Name == ".debug_frame", base: int64(s.Offset), made: []made{}}
	for at, end := int64(s.Offset), int64(s.Offset)+int64(s.FileSize); at < end && len(t.made) < maxIndexed; {
		_, next, err := f.record(at)
		if err != nil {
			break
		}
		if e, err := f.readEntry(at, t); err == nil && e.end > e.start {
			t.made = append(t.made, made{e.start, e.end, at})
		}
		at = next
	}
	slices.SortFunc(t.made, func(a, b made) int { return cmp.Compare(a.start, b.start) })
	return t
}
