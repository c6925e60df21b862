package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// maxProbes of one file and maxText of one of their strings; a file over them is
// refused. Debian's libjvm.so has 522 probes.
const (
	maxProbes = 1 << 14
	maxText   = 4096
)

// Probe is one place in a file at which a static tracepoint fires; a tracepoint
// may have several.
type Probe struct {
	Provider, Name string // untrusted
	Arguments      string // as the compiler wrote them, for ParseArguments; untrusted
	Location       uint64 // offset in the file of the instruction
	Semaphore      uint64 // offset in the file of its 16-bit counter; 0: always on
}

// Probes reads the notes of the file. A file without any has none, which is no
// error; a note whose location is in no executable segment is left out.
func (f *File) Probes() ([]Probe, error) {
	s, ok := f.section(".note.stapsdt")
	if !ok {
		return nil, nil
	}
	notes, err := f.content(s, maxNotes)
	if err != nil {
		return nil, fmt.Errorf("reading notes: %w", err)
	}
	var base uint64
	if b, ok := f.section(".stapsdt.base"); ok {
		base = b.Addr
	}
	var probes []Probe
	for len(notes) > 0 {
		var n note
		if n, notes, err = nextNote(notes); err != nil {
			return nil, fmt.Errorf("reading note %d: %w", len(probes), err)
		}
		if n.owner != "stapsdt" || n.kind != 3 {
			continue
		}
		p, err := f.probe(n.content, base)
		if err != nil {
			return nil, fmt.Errorf("reading note %d: %w", len(probes), err)
		}
		if p.Location == 0 {
			continue
		}
		if len(probes) == maxProbes {
			return nil, fmt.Errorf("%w: more than %d probes", ErrNotELF, maxProbes)
		}
		probes = append(probes, p)
	}
	return probes, nil
}

type note struct {
	owner   string
	kind    uint32
	content []byte
}

func nextNote(b []byte) (n note, rest []byte, err error) {
	if len(b) < 12 {
		return n, nil, fmt.Errorf("%w: %d bytes are left of the notes", ErrNotELF, len(b))
	}
	owner, content := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	n.kind = binary.LittleEndian.Uint32(b[8:])
	b = b[12:]
	pad := func(size uint64) uint64 { return (size + 3) &^ 3 }
	// The last note's padding may be missing.
	if pad(owner) > uint64(len(b)) || pad(owner)+content > uint64(len(b)) {
		return n, nil, fmt.Errorf("%w: a note of %d and %d bytes, %d are left", ErrNotELF, owner, content, len(b))
	}
	n.owner = text(b[:owner])
	b = b[pad(owner):]
	n.content = b[:content]
	return n, b[min(pad(content), uint64(len(b))):], nil
}

// probe decodes a note: three addresses (location, base, semaphore) and three
// strings. Its addresses are those at link time: prelink moves code and data and
// leaves notes alone, but it moves the section .stapsdt.base as well.
func (f *File) probe(b []byte, base uint64) (p Probe, err error) {
	if len(b) < 24 {
		return p, fmt.Errorf("%w: a note of %d bytes", ErrNotELF, len(b))
	}
	location, linked, semaphore := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	if base != 0 && linked != 0 {
		location += base - linked
		if semaphore != 0 {
			semaphore += base - linked
		}
	}
	fields := bytes.SplitN(b[24:], []byte{0}, 4)
	if len(fields) < 4 {
		return p, fmt.Errorf("%w: a note with %d strings", ErrNotELF, len(fields)-1)
	}
	for i, s := range []*string{&p.Provider, &p.Name, &p.Arguments} {
		if len(fields[i]) > maxText {
			return p, fmt.Errorf("%w: a string of %d bytes, allowed are %d", ErrNotELF, len(fields[i]), maxText)
		}
		*s = string(fields[i])
	}
	at, ok := f.Offset(location, elf.PF_X)
	if !ok {
		return Probe{}, nil
	}
	p.Location = at
	if semaphore != 0 {
		if p.Semaphore, ok = f.Offset(semaphore, elf.PF_W); !ok || p.Semaphore == 0 {
			return Probe{}, nil // attaching without it would never fire
		}
	}
	return p, nil
}
