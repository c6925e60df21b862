package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxMaps     = 1 << 16  // executable mappings of one process
	maxMapsSize = 16 << 20 // bytes of its maps file
)

// mapping is an executable range of a process.
type mapping struct {
	start, end, offset uint64
	dev                string // "fd:01"
	inode              uint64 // 0: not a file
	path               string // as the process sees it; "[vdso]"; empty
}

// base is the file's name for people.
func (m mapping) base() string {
	switch path := strings.TrimSuffix(m.path, " (deleted)"); {
	case path == "" || strings.HasPrefix(path, "//anon"):
		return "[anon]"
	case path[0] != '/': // "[heap]", and "[anon:NAME]", where NAME is the process's and may hold slashes
		return printable(path)
	default:
		return printable(filepath.Base(path))
	}
}

// parseMaps reads the executable ranges of a maps file, in order. The file is the
// kernel's, but the paths in it are the process's.
func parseMaps(r io.Reader) ([]mapping, error) {
	var out []mapping
	lines := bufio.NewReaderSize(io.LimitReader(r, maxMapsSize), 64<<10)
	for len(out) < maxMaps {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return out, errors.New("a line is too long")
		}
		if m, ok := parseMapping(bytes.TrimSuffix(line, []byte("\n"))); ok {
			out = append(out, m)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, err
		}
	}
	slices.SortFunc(out, func(a, b mapping) int { return cmp.Compare(a.start, b.start) })
	return out, nil
}

// parseMapping reads "START-END PERMS OFFSET DEV INODE   PATH".
func parseMapping(line []byte) (m mapping, ok bool) {
	var fields [5][]byte
	for i := range fields {
		line = bytes.TrimLeft(line, " ")
		fields[i], line, _ = bytes.Cut(line, []byte(" "))
	}
	start, end, _ := bytes.Cut(fields[0], []byte("-"))
	if len(fields[1]) < 3 || fields[1][2] != 'x' {
		return m, false
	}
	var errs [4]error
	m.start, errs[0] = strconv.ParseUint(string(start), 16, 64)
	m.end, errs[1] = strconv.ParseUint(string(end), 16, 64)
	m.offset, errs[2] = strconv.ParseUint(string(fields[2]), 16, 64)
	m.inode, errs[3] = strconv.ParseUint(string(fields[4]), 10, 64)
	m.dev, m.path = string(fields[3]), string(bytes.TrimLeft(line, " "))
	return m, errors.Join(errs[:]...) == nil && m.start < m.end
}

// process is a process of the target while its stacks are named.
type process struct {
	dir     string // /proc/PID
	pid     int
	started string // when, in clock ticks since boot: tells it from a later one of its pid
	inner   int    // its pid in its own namespace, which names its perf map
	uid     uint32
	maps    []mapping
	files   map[uint64]*file    // by the start of the mapping; nil: cannot be read
	opener  func(mapping) *file // opens one that is not in files
}

func readProcess(proc string, pid int) (*process, error) {
	p := &process{dir: filepath.Join(proc, strconv.Itoa(pid)), pid: pid, inner: pid, files: map[uint64]*file{}}
	var err error
	if p.started, err = startOf(p.dir); err != nil {
		return nil, err
	}
	status, err := os.ReadFile(filepath.Join(p.dir, "status"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case name == "NSpid" && len(fields) > 0:
			if n, err := strconv.Atoi(fields[len(fields)-1]); err == nil {
				p.inner = n
			}
		case name == "Uid" && len(fields) > 1:
			uid, _ := strconv.ParseUint(fields[1], 10, 32)
			p.uid = uint32(uid)
		}
	}
	f, err := os.Open(filepath.Join(p.dir, "maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if p.maps, err = parseMaps(f); err != nil {
		return nil, fmt.Errorf("reading %s/maps: %w", p.dir, err)
	}
	return p, nil
}

// startOf is field 22 of stat; the name before it may hold anything.
func startOf(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("%s/stat has %d fields after the name, there are at least 20", dir, len(fields))
	}
	return fields[19], nil
}

func (p *process) find(addr uint64) (mapping, bool) {
	i, _ := slices.BinarySearchFunc(p.maps, addr, func(m mapping, a uint64) int {
		if m.end <= a {
			return -1
		}
		return 1
	})
	if i < len(p.maps) && p.maps[i].start <= addr {
		return p.maps[i], true
	}
	return mapping{}, false
}
