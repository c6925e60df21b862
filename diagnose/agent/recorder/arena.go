package recorder

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// chunkBytes is the unit in which groups get and lose memory: some ten to thirty
// records.
const chunkBytes = 256

const noChunk = ^uint32(0)

// arena is the memory of all records, in chunks that form a list a group. It is
// mapped, not on the heap: it costs the garbage collector nothing, and what was
// never used is not resident.
type arena struct {
	data  []byte
	next  []uint32 // of each chunk, in its group's list or in the list of the free
	first []uint32 // number of the sample of each chunk's first record
	used  []uint16
	free  uint32
	fresh uint32 // chunks from here on were never used
}

func newArena(bytes int) (*arena, error) {
	n := bytes / (chunkBytes + 4 + 4 + 2)
	data, err := unix.Mmap(-1, 0, n*chunkBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes for the recorder: %w", n*chunkBytes, err)
	}
	return &arena{data: data, next: make([]uint32, n), first: make([]uint32, n), used: make([]uint16, n), free: noChunk}, nil
}

func (a *arena) close() error {
	if err := unix.Munmap(a.data); err != nil {
		return fmt.Errorf("unmapping the recorder's memory: %w", err)
	}
	return nil
}

// take gives an empty chunk; ok is false when there is none.
func (a *arena) take() (c uint32, ok bool) {
	switch {
	case a.free != noChunk:
		c = a.free
		a.free = a.next[c]
	case int(a.fresh) < len(a.next):
		c = a.fresh
		a.fresh++
	default:
		return noChunk, false
	}
	a.next[c], a.used[c] = noChunk, 0
	return c, true
}

func (a *arena) release(c uint32) { a.next[c], a.free = a.free, c }

// bytes is what was written to a chunk.
func (a *arena) bytes(c uint32) []byte {
	at := int(c) * chunkBytes
	return a.data[at : at+int(a.used[c])]
}

// add writes a record to a chunk; ok is false when it does not fit.
func (a *arena) add(c uint32, r *record, after uint32) (ok bool) {
	var buf [maxRecord]byte
	b := r.append(buf[:0], after)
	if int(a.used[c])+len(b) > chunkBytes {
		return false
	}
	copy(a.data[int(c)*chunkBytes+int(a.used[c]):], b)
	a.used[c] += uint16(len(b))
	return true
}
