package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is read of a file: a file over one of them is refused. Debian's
// libjvm.so has 32 sections and 55 kB of notes, its postgres 7 kB of notes and
// 10,800 dynamic symbols.
const (
	maxSections = 4096
	maxSegments = 256
	maxNotes    = 4 << 20  // bytes of .note.stapsdt
	maxSymbols  = 1 << 19  // of .dynsym
	maxStrings  = 16 << 20 // bytes of .dynstr
)

// ErrNotELF is that of a file which is no 64-bit little-endian ELF file, or one
// that is not well-formed.
var ErrNotELF = errors.New("not a well-formed 64-bit little-endian ELF file")

// File is what this package needs of an ELF file.
type File struct {
	Machine  elf.Machine
	r        io.ReaderAt
	sections []section
	segments []elf.Prog64
}

type section struct {
	elf.Section64
	name string
}

// NewFile reads the headers of r.
func NewFile(r io.ReaderAt) (*File, error) {
	f, err := newFile(r)
	if err != nil {
		return nil, fmt.Errorf("reading ELF headers: %w", err)
	}
	return f, nil
}

func newFile(r io.ReaderAt) (*File, error) {
	var h elf.Header64
	if err := read(r, 0, &h); err != nil {
		return nil, err
	}
	switch {
	case !bytes.HasPrefix(h.Ident[:], []byte(elf.ELFMAG)),
		elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64,
		elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return nil, ErrNotELF
	case h.Shnum > maxSections || h.Phnum > maxSegments:
		return nil, fmt.Errorf("%w: %d sections and %d segments, allowed are %d and %d", ErrNotELF, h.Shnum, h.Phnum, maxSections, maxSegments)
	case h.Shnum > 0 && h.Shentsize != 64 || h.Phnum > 0 && h.Phentsize != 56 || h.Shnum > 0 && h.Shstrndx >= h.Shnum:
		return nil, fmt.Errorf("%w: header entries of %d and %d bytes", ErrNotELF, h.Shentsize, h.Phentsize)
	}
	f := &File{Machine: elf.Machine(h.Machine), r: r, segments: make([]elf.Prog64, h.Phnum)}
	if err := read(r, h.Phoff, f.segments); err != nil {
		return nil, err
	}
	headers := make([]elf.Section64, h.Shnum)
	if err := read(r, h.Shoff, headers); err != nil || h.Shnum == 0 {
		return f, err
	}
	names := headers[h.Shstrndx]
	for _, s := range headers {
		// The longest name that is looked for has 14 characters.
		var name [16]byte
		if n := min(uint64(len(name)), max(names.Size, uint64(s.Name))-uint64(s.Name)); n > 0 && names.Off <= 1<<62 {
			if err := read(r, names.Off+uint64(s.Name), name[:n]); err != nil {
				return nil, err
			}
		}
		f.sections = append(f.sections, section{s, text(name[:])})
	}
	return f, nil
}

// read decodes v from the file, all of it.
func read(r io.ReaderAt, off uint64, v any) error {
	b := make([]byte, binary.Size(v))
	if off > 1<<62 {
		return fmt.Errorf("%w: offset %#x", ErrNotELF, off)
	}
	if n, err := r.ReadAt(b, int64(off)); n < len(b) {
		return fmt.Errorf("%w: %d bytes at %#x: %w", ErrNotELF, len(b), off, err)
	}
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}

// text is b up to its first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func (f *File) section(name string) (section, bool) {
	for _, s := range f.sections {
		if s.name == name && elf.SectionType(s.Type) != elf.SHT_NOBITS {
			return s, true
		}
	}
	return section{}, false
}

// content is a whole section, which must not be larger than most.
func (f *File) content(s section, most uint64) ([]byte, error) {
	if s.Size > most {
		return nil, fmt.Errorf("%w: section %s has %d bytes, allowed are %d", ErrNotELF, s.name, s.Size, most)
	}
	b := make([]byte, s.Size)
	return b, read(f.r, s.Off, b)
}

// Offset is where in the file the byte at a virtual address comes from. flags
// are what its segment must have.
func (f *File) Offset(addr uint64, flags elf.ProgFlag) (uint64, bool) {
	for _, s := range f.segments {
		if elf.ProgType(s.Type) == elf.PT_LOAD && elf.ProgFlag(s.Flags)&flags == flags &&
			addr >= s.Vaddr && addr-s.Vaddr < s.Filesz && s.Off <= 1<<62 && s.Filesz <= 1<<62 {
			return addr - s.Vaddr + s.Off, true
		}
	}
	return 0, false
}

// Address is the virtual address of a byte of the file: the inverse of Offset.
func (f *File) Address(off uint64) (uint64, bool) {
	for _, s := range f.segments {
		// A mapping begins at a page, its segment may begin inside of it.
		begin := s.Off - min(s.Off, s.Vaddr%4096)
		if elf.ProgType(s.Type) == elf.PT_LOAD && off >= begin && off-begin < s.Filesz+(s.Off-begin) {
			return s.Vaddr + off - s.Off, true
		}
	}
	return 0, false
}

// Symbol is the virtual address of a defined object in .dynsym.
func (f *File) Symbol(name string) (addr uint64, ok bool, err error) {
	syms, ok := f.section(".dynsym")
	names, ok2 := f.section(".dynstr")
	if !ok || !ok2 {
		return 0, false, nil
	}
	strings, err := f.content(names, maxStrings)
	if err != nil {
		return 0, false, err
	}
	table, err := f.content(syms, maxSymbols*elf.Sym64Size)
	if err != nil {
		return 0, false, err
	}
	want := append([]byte(name), 0)
	for ; len(table) >= elf.Sym64Size; table = table[elf.Sym64Size:] {
		at := binary.LittleEndian.Uint32(table)
		if uint64(at) < uint64(len(strings)) && bytes.HasPrefix(strings[at:], want) &&
			elf.ST_TYPE(table[4]) == elf.STT_OBJECT && binary.LittleEndian.Uint16(table[6:]) != uint16(elf.SHN_UNDEF) {
			return binary.LittleEndian.Uint64(table[8:]), true, nil
		}
	}
	return 0, false, nil
}
