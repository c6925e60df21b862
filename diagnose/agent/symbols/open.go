package symbols

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// opened is a regular file of the target, or memory of it.
type opened struct {
	io.ReaderAt
	io.Closer
	key fileKey
}

// fileKey tells one content of a file from another.
type fileKey struct {
	dev, inode  uint64
	mtime, size int64
}

// open opens the file of a mapping. map_files leads to it also when it was deleted
// or is in another mount namespace; where that is not allowed, the process's root
// does if the file there is still the one that is mapped.
func (p *process) open(m mapping) (opened, error) {
	if m.path == "[vdso]" {
		return p.memory(m)
	}
	if m.inode == 0 {
		return opened{}, errors.New("it is not a file")
	}
	link := filepath.Join(p.dir, "map_files", fmt.Sprintf("%x-%x", m.start, m.end))
	// A device could be mapped; it must not even be opened.
	if info, err := os.Stat(link); err == nil && !info.Mode().IsRegular() {
		return opened{}, errors.New("it is not a regular file")
	}
	fd, err := unix.Open(link, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == nil {
		o, _, err := regular(fd, m.path)
		return o, err
	}
	o, st, rootErr := p.inRoot(m.path)
	if rootErr != nil {
		return opened{}, errors.Join(err, rootErr)
	}
	if dev := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev)); st.Ino != m.inode || dev != m.dev {
		o.Close()
		return opened{}, errors.New("it was replaced after the process had mapped it")
	}
	return o, nil
}

// inRoot opens a path as the process sees it. Symbolic links cannot lead out of its
// root, nor a pipe or a device block the reader.
func (p *process) inRoot(path string) (opened, unix.Stat_t, error) {
	root, err := unix.Open(filepath.Join(p.dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return opened{}, unix.Stat_t{}, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	at, err := unix.Openat2(root, path, &how)
	if err != nil {
		return opened{}, unix.Stat_t{}, fmt.Errorf("opening %s in the process's root: %w", path, err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return opened{}, st, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return opened{}, st, errors.New("it is not a regular file")
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return opened{}, st, err
	}
	return regular(fd, path)
}

func regular(fd int, name string) (opened, unix.Stat_t, error) {
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return opened{}, st, err
	}
	return opened{f, f, fileKey{st.Dev, st.Ino, st.Mtim.Nano(), st.Size}}, st, nil
}

// memory copies a small mapping that has no file: the vdso.
func (p *process) memory(m mapping) (opened, error) {
	const most = 64 << 10
	f, err := os.Open(filepath.Join(p.dir, "mem"))
	if err != nil {
		return opened{}, err
	}
	defer f.Close()
	b := make([]byte, min(m.end-m.start, most))
	n, err := f.ReadAt(b, int64(m.start))
	if n == 0 {
		return opened{}, err
	}
	return opened{bytes.NewReader(b[:n]), io.NopCloser(nil), fileKey{inode: m.start, size: int64(n), mtime: int64(p.pid)}}, nil
}
