package postgres

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kmend/kmend/bpf/usdt"
)

// memory is a backend's, read only. Every read is of a fixed size: what the
// addresses in it lead to is the backend's own affair.
type memory struct{ f *os.File }

func openMemory(proc string, pid int) (memory, error) {
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "mem"))
	return memory{f}, err
}

// bytes reads up to n bytes; fewer where the mapping ends.
func (m memory) bytes(addr uint64, n int) ([]byte, error) {
	if addr == 0 || addr > 1<<62 {
		return nil, fmt.Errorf("address %#x", addr)
	}
	b := make([]byte, n)
	got, err := m.f.ReadAt(b, int64(addr))
	if got > 0 {
		return b[:got], nil
	}
	return nil, err
}

func (m memory) exactly(addr uint64, n int) ([]byte, error) {
	b, err := m.bytes(addr, n)
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func (m memory) pointer(addr uint64) (uint64, error) {
	b, err := m.exactly(addr, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// backend is a process that runs PostgreSQL.
type backend struct {
	pid    int
	inside int    // its pid as PostgreSQL knows it, in the innermost namespace
	ns     string // that namespace
	file   program
	myProc uint64 // address of the variable MyProc in it; 0: not known
	memory memory
}

// program names the file that a backend runs.
type program struct {
	device string
	inode  uint64
}

// inner reads the pid in the process's own namespace and which that is.
func inner(proc string, pid int) (inside int, ns string, err error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, "", err
	}
	inside = pid
	for line := range strings.Lines(string(status)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(pids); len(f) > 0 {
				inside, err = strconv.Atoi(f[len(f)-1])
			}
		}
	}
	if err != nil {
		return 0, "", err
	}
	ns, err = os.Readlink(filepath.Join(dir, "ns/pid"))
	return inside, ns, err
}

// image is where a process has its program: the program's name for us, the code's
// mapping, and what addresses of the file are moved by.
func image(proc string, pid int) (p program, code usdt.Mapping, err error) {
	exe, err := os.Readlink(filepath.Join(proc, strconv.Itoa(pid), "exe"))
	if err != nil {
		return p, code, err
	}
	err = usdt.Mappings(proc, pid, func(m usdt.Mapping) bool {
		if m.Executable && m.Path == exe {
			code = m
		}
		return code.Start == 0
	})
	return program{code.Device, code.Inode}, code, err
}

// isPostgres: by its file's name alone; what is in the file is looked at later.
func isPostgres(proc string, pid int) bool {
	exe, err := os.Readlink(filepath.Join(proc, strconv.Itoa(pid), "exe"))
	return err == nil && strings.TrimSuffix(filepath.Base(exe), " (deleted)") == "postgres"
}
