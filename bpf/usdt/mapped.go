package usdt

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMaps bounds what is read of /proc/PID/maps, in bytes: the kernel's default
// bound of 65,530 mappings is 6 MB.
const maxMaps = 16 << 20

// Mapping is one line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64 // addresses in the process
	Offset     uint64 // in the file
	Executable bool
	Device     string // "fd:01", as the kernel writes it; with Inode it names the file
	Inode      uint64
	Path       string // as the process sees it, " (deleted)" at the end where it is; untrusted
}

// Mappings calls found for each mapping of a file that a process has, in the
// order of addresses, until it returns false. proc is where processes are seen.
func Mappings(proc string, pid int, found func(Mapping) bool) error {
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "maps"))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxMaps))
	lines.Buffer(make([]byte, 8192), 64<<10)
	for lines.Scan() {
		if m, ok := mapping(lines.Text()); ok && !found(m) {
			return nil
		}
	}
	// A process that ends meanwhile has no maps any more.
	if err := lines.Err(); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("reading the maps of process %d: %w", pid, err)
	}
	return nil
}

func mapping(line string) (m Mapping, ok bool) {
	field := func() (s string) {
		s, line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
		return s
	}
	from, to, _ := strings.Cut(field(), "-")
	perms, offset := field(), field()
	m.Device = field()
	inode := field()
	m.Path = strings.TrimLeft(line, " ")
	var errs [4]error
	m.Start, errs[0] = strconv.ParseUint(from, 16, 64)
	m.End, errs[1] = strconv.ParseUint(to, 16, 64)
	m.Offset, errs[2] = strconv.ParseUint(offset, 16, 64)
	m.Inode, errs[3] = strconv.ParseUint(inode, 10, 64)
	m.Executable = len(perms) == 4 && perms[2] == 'x'
	return m, errors.Join(errs[:]...) == nil && m.Inode != 0 && m.End > m.Start
}

// Open opens the file behind a mapping of a process: the inode that is mapped,
// in whichever mount namespace and whether or not it still has a name.
func (m Mapping) Open(proc string, pid int) (*os.File, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	f, err := open(fmt.Sprintf("%s/map_files/%x-%x", dir, m.Start, m.End))
	if err == nil {
		return f, nil
	}
	// It takes CAP_CHECKPOINT_RESTORE. By name then, which must not lead out of
	// the process's root and must lead to the same inode.
	root, rootErr := os.OpenRoot(dir + "/root")
	if rootErr != nil {
		return nil, errors.Join(err, rootErr)
	}
	defer root.Close()
	f, nameErr := root.OpenFile(strings.TrimPrefix(filepath.Clean(m.Path), "/"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if nameErr != nil {
		return nil, errors.Join(err, nameErr)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != m.Inode {
		f.Close()
		return nil, fmt.Errorf("%q is not the file that process %d has mapped any more", m.Path, pid)
	}
	return f, nil
}

func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Object is what is remembered of a file: its probes.
type Object struct {
	Machine elf.Machine
	Probes  []Probe // of the providers asked for
}

// ReadObject reads the probes of these providers.
func ReadObject(r io.ReaderAt, providers ...string) (*Object, error) {
	f, err := NewFile(r)
	if err != nil {
		return nil, err
	}
	all, err := f.Probes()
	if err != nil {
		return nil, err
	}
	o := &Object{Machine: f.Machine}
	for _, p := range all {
		if slices.Contains(providers, p.Provider) {
			o.Probes = append(o.Probes, p)
		}
	}
	return o, nil
}
