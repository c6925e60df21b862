package symbols

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const maxHeaders = 4 << 20 // bytes that reading the headers of one file may take

// Headers reads the headers of an ELF file of 64 bits, little endian. The file is
// not trusted: it reads 4 MiB at most. debug/elf may panic all the same.
func Headers(r io.ReaderAt) (*elf.File, error) {
	f, err := elf.NewFile(&budgeted{r, maxHeaders})
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian {
		return nil, fmt.Errorf("it is %s %s code, which cannot be walked", f.Class, f.Data)
	}
	return f, nil
}

// budgeted fails when more than left bytes are read: a header can promise anything.
type budgeted struct {
	r    io.ReaderAt
	left int
}

func (b *budgeted) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("its headers are too large")
	}
	return b.r.ReadAt(p, off)
}
