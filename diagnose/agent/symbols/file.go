package symbols

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	maxSegments = 64
	pageSize    = 4 << 10
	maxPages    = 2048  // of one file that are kept
	maxRules    = 16384 // of one file that are kept
)

// file is one ELF file. Nothing in it is trusted. It keeps what was read of it, but
// is open only while stacks are named: an open file would keep its file system from
// being unmounted.
type file struct {
	key     fileKey
	machine elf.Machine
	loads   []elf.ProgHeader
	symbols []table // symtab, dynsym
	buildID []byte
	gotab   *gotab // nil: not a Go program
	frames  *frameTable
	frameOK bool // frames was tried
	framed  []elf.SectionHeader
	relocs  []elf.SectionHeader

	names      map[uint64]symbol // found before; an empty one: there is none
	full       bool              // it has a symtab
	debug      *file             // its separate symbols, while open
	debugTried bool

	r      io.ReaderAt // nil: closed
	closer io.Closer
	pages  map[int64][]byte
	rules  map[uint64]rule
	used   uint64 // when, counted in calls
}

// table is a symbol table and its names, as places in the file.
type table struct {
	offset, size   int64
	names, namesSz int64
}

// newFile reads the headers of an ELF file.
func newFile(o opened) (f *file, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("its ELF headers are not valid: %v", p)
		}
	}()
	e, err := Headers(o)
	if err != nil {
		return nil, err
	}
	f = &file{key: o.key, machine: e.Machine, r: o, pages: map[int64][]byte{}, rules: map[uint64]rule{}, names: map[uint64]symbol{}}
	for _, p := range e.Progs[:min(len(e.Progs), maxSegments)] {
		if p.Type == elf.PT_LOAD || p.Type == elf.PT_GNU_EH_FRAME {
			f.loads = append(f.loads, p.ProgHeader)
		}
	}
	text, module := uint64(0), uint64(0)
	var pcln *elf.Section
	for _, s := range e.Sections {
		switch {
		case s.Type == elf.SHT_SYMTAB || s.Type == elf.SHT_DYNSYM:
			if int(s.Link) < len(e.Sections) && s.Flags&elf.SHF_COMPRESSED == 0 {
				names := e.Sections[s.Link]
				f.full = f.full || s.Type == elf.SHT_SYMTAB
				f.symbols = append(f.symbols, table{int64(s.Offset), int64(s.FileSize), int64(names.Offset), int64(names.FileSize)})
			}
		case s.Flags&elf.SHF_COMPRESSED != 0:
		case s.Name == ".gopclntab" || s.Name == ".data.rel.ro.gopclntab":
			pcln = s
		case s.Type == elf.SHT_RELA && s.Flags&elf.SHF_ALLOC != 0: //nolint:misspell // ELF's word
			f.relocs = append(f.relocs, s.SectionHeader)
		case s.Name == ".text":
			text = s.Addr
		case s.Name == ".go.module":
			module = s.Addr
		case s.Name == ".eh_frame" || s.Name == ".debug_frame":
			f.framed = append(f.framed, s.SectionHeader)
		case s.Name == ".note.gnu.build-id" && s.FileSize > 16 && s.FileSize <= 64:
			b := make([]byte, s.FileSize)
			if _, err := s.ReaderAt.ReadAt(b, 0); err == nil {
				f.buildID = b[16:]
			}
		}
	}
	if pcln != nil {
		f.gotab = f.newGotab(int64(pcln.Offset), int64(pcln.FileSize), text, module)
	}
	return f, nil
}

// address is where an address of a process lies in the file's own addresses.
func (f *file) address(m mapping, addr uint64) (uint64, bool) {
	off := addr - m.start + m.offset
	for _, p := range f.loads {
		if p.Type == elf.PT_LOAD && off >= p.Off && off-p.Off < p.Filesz {
			return off - p.Off + p.Vaddr, true
		}
	}
	return 0, false
}

// place is where an address of the file lies in it.
func (f *file) place(vaddr uint64) (int64, bool) {
	for _, p := range f.loads {
		if p.Type == elf.PT_LOAD && vaddr >= p.Vaddr && vaddr-p.Vaddr < p.Filesz {
			return int64(vaddr - p.Vaddr + p.Off), true
		}
	}
	return 0, false
}

// executable reports whether vaddr lies in code.
func (f *file) executable(vaddr uint64) bool {
	for _, p := range f.loads {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && vaddr >= p.Vaddr && vaddr-p.Vaddr < p.Memsz {
			return true
		}
	}
	return false
}

// ReadAt reads through the pages that are kept: walking looks at the same few again
// and again.
func (f *file) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("reading before the file")
	}
	for n < len(b) {
		page, err := f.page((off + int64(n)) / pageSize)
		if err != nil {
			return n, err
		}
		from := int((off + int64(n)) % pageSize)
		if from >= len(page) {
			return n, io.ErrUnexpectedEOF
		}
		n += copy(b[n:], page[from:])
	}
	return n, nil
}

func (f *file) page(i int64) ([]byte, error) {
	if p, ok := f.pages[i]; ok {
		return p, nil
	}
	if f.r == nil {
		return nil, errors.New("the file is closed")
	}
	b := make([]byte, pageSize)
	n, err := f.r.ReadAt(b, i*pageSize)
	if n == 0 {
		return nil, err
	}
	if len(f.pages) >= maxPages {
		clear(f.pages)
	}
	f.pages[i] = b[:n]
	return b[:n], nil
}

func (f *file) uint32(off int64) (uint32, error) {
	var b [4]byte
	_, err := f.ReadAt(b[:], off)
	return binary.LittleEndian.Uint32(b[:]), err
}

func (f *file) uint64(off int64) (uint64, error) {
	var b [8]byte
	_, err := f.ReadAt(b[:], off)
	return binary.LittleEndian.Uint64(b[:]), err
}

// text reads a string that ends with 0, at most max bytes of it.
func (f *file) text(off int64, max int) string {
	var out []byte
	var b [64]byte
	for len(out) < max {
		n, err := f.ReadAt(b[:], off+int64(len(out)))
		for i, c := range b[:n] {
			if c == 0 {
				return string(append(out, b[:i]...))
			}
		}
		out = append(out, b[:n]...)
		if err != nil {
			break
		}
	}
	return string(out[:min(len(out), max)])
}

// pointer is the address of code that is stored at vaddr, or 0. In a position
// independent file it is in a relocation.
func (f *file) pointer(vaddr uint64) uint64 {
	at, ok := f.place(vaddr)
	if !ok {
		return 0
	}
	if v, err := f.uint64(at); err == nil && f.executable(v) {
		return v
	}
	const size, block, most = 24, 4096, 4 << 20
	b := make([]byte, block*size)
	for _, s := range f.relocs {
		left := min(int64(s.FileSize)/size, most)
		for off := int64(s.Offset); left > 0; left, off = left-block, off+block*size {
			n, err := f.r.ReadAt(b[:min(left, block)*size], off)
			for r := b[:n-n%size]; len(r) > 0; r = r[size:] {
				if v := binary.LittleEndian.Uint64(r[16:]); binary.LittleEndian.Uint64(r) == vaddr && f.executable(v) {
					return v
				}
			}
			if err != nil {
				break
			}
		}
	}
	return 0
}

func (f *file) uvarint(off int64) (v uint64, n int64, err error) {
	var b [1]byte
	for shift := 0; shift < 64; shift += 7 {
		if _, err := f.ReadAt(b[:], off+n); err != nil {
			return 0, n, err
		}
		n++
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v, n, nil
		}
	}
	return 0, n, errors.New("a number is too long")
}
