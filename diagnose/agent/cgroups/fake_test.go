package cgroups

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake is a node of ordinary directories: /proc and the hierarchies.
type fake struct {
	t    *testing.T
	root string
}

const v1 = `30 29 0:26 / ROOT/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 / ROOT/memory rw,relatime - cgroup cgroup rw,memory
32 29 0:28 / ROOT/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 29 8:1 / / rw - ext4 /dev/vda rw
`

const v2 = "30 29 0:26 / ROOT/unified rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

// newFake mounts the lines of mountinfo; ROOT is the fake's directory.
func newFake(t *testing.T, mountinfo string) (fake, *Node) {
	t.Helper()
	f := fake{t, t.TempDir()}
	for _, d := range []string{"cpu,cpuacct", "memory", "systemd", "unified"} {
		if strings.Contains(mountinfo, "ROOT/"+d+" ") {
			f.dir(d)
		}
	}
	f.file("proc/self/mountinfo", strings.ReplaceAll(mountinfo, "ROOT", f.root))
	n, err := Open(filepath.Join(f.root, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	return f, n
}

func (f fake) dir(path string) string {
	f.t.Helper()
	dir := filepath.Join(f.root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

func (f fake) file(path, text string) {
	f.t.Helper()
	f.dir(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(f.root, path), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f fake) process(pid int, cgroup string) {
	f.file(fmt.Sprintf("proc/%d/status", pid), fmt.Sprintf("Name:\tx\nState:\tS (sleeping)\nTgid:\t%d\n", pid))
	f.file(fmt.Sprintf("proc/%d/cgroup", pid), cgroup)
}
