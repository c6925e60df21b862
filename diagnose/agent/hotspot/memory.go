package hotspot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// memory is a process's, read only. Every read has a fixed size: what the addresses
// lead to is the process's own affair.
type memory struct {
	pid   int
	f     *os.File
	pages map[uint64][]byte // of text, which does not change
}

func openMemory(proc string, pid int) (memory, error) {
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "mem"))
	return memory{pid, f, map[uint64][]byte{}}, err
}

func (m memory) read(addr uint64, b []byte) error {
	if addr == 0 || addr > 1<<62 {
		return fmt.Errorf("address %#x", addr)
	}
	_, err := m.f.ReadAt(b, int64(addr))
	return err
}

// word reads 8 bytes, and 0 where there are none: nothing leads anywhere from there.
func (m memory) word(addr uint64) uint64 {
	var b [8]byte
	if m.read(addr, b[:]) != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (m memory) half(addr uint64) uint64 {
	var b [4]byte
	if m.read(addr, b[:]) != nil {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(b[:]))
}

// gather reads size bytes at each address with few system calls; zeros where there
// are none. It goes by the process's id, so a read by its file comes first.
func (m memory) gather(addrs []uint64, size int) []byte {
	const most, misses = 128, 64 // addresses of one call, and such as lead nowhere
	b, missed := make([]byte, size*len(addrs)), 0
	for at := 0; at < len(addrs); {
		var remote []unix.RemoteIovec
		for _, a := range addrs[at:min(len(addrs), at+most)] {
			remote = append(remote, unix.RemoteIovec{Base: uintptr(a), Len: size})
		}
		local := unix.Iovec{Base: &b[size*at]}
		local.SetLen(size * len(remote))
		n, err := unix.ProcessVMReadv(m.pid, []unix.Iovec{local}, remote, 0)
		if err != nil && !errors.Is(err, unix.EFAULT) {
			break
		}
		if at += max(0, n) / size; max(0, n)/size == len(remote) {
			continue
		}
		clear(b[size*at : size*(at+1)]) // nothing is there
		at++
		if missed++; missed > misses {
			break
		}
	}
	return b
}

// text reads a constant of the program, up to its first zero byte.
func (m memory) text(addr uint64) string {
	const longest = 64
	var out []byte
	for len(out) < longest {
		page := addr / pageSize
		if m.pages[page] == nil {
			b := make([]byte, pageSize)
			if m.read(page*pageSize, b) != nil {
				return ""
			}
			m.pages[page] = b
		}
		rest := m.pages[page][addr%pageSize:]
		if i := bytes.IndexByte(rest, 0); i >= 0 {
			return string(append(out, rest[:i]...))
		}
		out, addr = append(out, rest...), addr+uint64(len(rest))
	}
	return string(out)
}
