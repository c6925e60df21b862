package symbols

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"strings"
)

const (
	symbolSize  = 24
	maxSymbols  = 8 << 20 // entries of one table; more are not looked at
	maxUnsized  = 4096    // bytes that a symbol without a size may cover
	symbolBlock = 4096    // entries read at once
)

// symbol is the best one found for an address.
type symbol struct {
	name  string
	start uint64
	kind  Kind
}

type candidate struct {
	value, size uint64
	name        int64 // where its name is
	rank        int
}

// lookup finds the functions at addresses of the file. One pass over the tables does
// for all of them, and nothing of 300,000 symbols is kept.
func (f *file) lookup(ctx context.Context, wanted []uint64) map[uint64]symbol {
	found := make(map[uint64]symbol, len(wanted))
	var rest []uint64
	for _, a := range wanted {
		if s, ok := f.gotab.lookup(f, a); ok {
			found[a] = s
		} else {
			rest = append(rest, a)
		}
	}
	slices.Sort(rest)
	best := make([]candidate, len(rest))
	for _, t := range f.symbols {
		f.scan(ctx, t, rest, best)
	}
	for i, c := range best {
		if c.rank == 0 {
			continue
		}
		if name := f.text(c.name, maxMangled+1); name != "" {
			found[rest[i]] = symbol{readable(name), c.value, Native}
		}
	}
	if f.debug != nil {
		maps.Copy(found, f.debug.lookup(ctx, rest))
	}
	return found
}

// scan looks at every function of a table once.
func (f *file) scan(ctx context.Context, t table, wanted []uint64, best []candidate) {
	if len(wanted) == 0 || f.r == nil {
		return
	}
	block := make([]byte, symbolBlock*symbolSize)
	left := min(t.size/symbolSize, maxSymbols)
	for at := t.offset; left > 0 && ctx.Err() == nil; at += int64(len(block)) {
		n, err := f.r.ReadAt(block[:min(left, symbolBlock)*symbolSize], at)
		for b := block[:n-n%symbolSize]; len(b) > 0; b = b[symbolSize:] {
			f.consider(t, b, wanted, best)
		}
		if err != nil {
			return
		}
		left -= symbolBlock
	}
}

// consider reads an Elf64_Sym: name, info, other, shndx, value, size.
func (f *file) consider(t table, b []byte, wanted []uint64, best []candidate) {
	kind, bind := elf.ST_TYPE(b[4]), elf.ST_BIND(b[4])
	if kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC && kind != elf.STT_NOTYPE || binary.LittleEndian.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) {
		return
	}
	c := candidate{value: binary.LittleEndian.Uint64(b[8:]), size: binary.LittleEndian.Uint64(b[16:])}
	covers := c.size
	if c.rank = 2; c.size == 0 {
		c.rank, covers = 1, maxUnsized
	}
	if c.rank == 2 && bind != elf.STB_LOCAL {
		c.rank = 3
	}
	name := int64(binary.LittleEndian.Uint32(b))
	if name == 0 || name >= t.namesSz {
		return
	}
	c.name = t.names + name
	i, _ := slices.BinarySearch(wanted, c.value)
	for ; i < len(wanted) && wanted[i]-c.value < covers; i++ {
		if f.better(c, best[i]) {
			best[i] = c
		}
	}
}

// better prefers what is nearer, then what others can call, then the plainer name:
// of pthread_mutex_lock and __pthread_mutex_lock the first.
func (f *file) better(a, b candidate) bool {
	switch {
	case a.rank == 0 || b.rank == 0:
		return a.rank > b.rank
	case (a.rank == 1) != (b.rank == 1): // without a size it is a guess
		return a.rank > b.rank
	case a.value != b.value:
		return a.value > b.value
	case a.rank != b.rank:
		return a.rank > b.rank
	}
	under := func(c candidate) int {
		name := f.text(c.name, 64)
		return len(name) - len(strings.TrimLeft(name, "_"))
	}
	return under(a) < under(b)
}

var _ io.ReaderAt = (*file)(nil)
