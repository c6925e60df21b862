package recorder

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// names finds the path of a cgroup by its number, as long as it is there: asked
// once when it is first met, so that it has a name when it is gone.
type names struct {
	dir   string
	mount *os.File
}

// open leaves n without names when it cannot: whoever asks looks them up then.
func (n *names) open(dir string) {
	if dir == "" {
		return
	}
	if f, err := os.Open(dir); err == nil {
		n.dir, n.mount = dir, f
	}
}

func (n *names) close() {
	if n.mount != nil {
		_ = n.mount.Close()
	}
}

// fileidKernfs is FILEID_KERNFS of the kernel's export header: the handle is the
// number of the directory.
const fileidKernfs = 0xfe

// path is the directory's below the mount, "" when it is gone or cannot be asked.
func (n *names) path(id uint64) string {
	if n.mount == nil || id == 0 {
		return ""
	}
	var handle [8]byte
	binary.NativeEndian.PutUint64(handle[:], id)
	fd, err := unix.OpenByHandleAt(int(n.mount.Fd()), unix.NewFileHandle(fileidKernfs, handle[:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	below, ok := strings.CutPrefix(path, n.dir)
	if err != nil || !ok || below != "" && below[0] != '/' {
		return ""
	}
	return cmp.Or(below, "/")
}
