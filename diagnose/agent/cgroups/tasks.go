package cgroups

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Groups are the directories in the cpu hierarchy whose quotas bear on the
// target: dir and those below it if it lies there, and the groups of the
// processes in dir, or of pid. Sorted, each once.
func (n *Node) Groups(dirs []string, pids []int) ([]string, error) {
	cpu, ok := n.CPU()
	if !ok {
		return nil, missing("no cpu hierarchy is mounted")
	}
	var out []string
	for _, dir := range dirs {
		if _, ok := cpu.Path(dir); ok {
			out = append(out, dir)
			out = append(out, below(dir, maxDepth)...)
			continue
		}
		inDir, err := processes(dir)
		if err != nil {
			return nil, err
		}
		pids = append(slices.Clone(pids), inDir...)
	}
	for _, pid := range pids {
		if dir, ok := n.groupOf(cpu, pid); ok {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func below(dir string, depth int) []string {
	var out []string
	find(dir, depth, func(d string) bool { out = append(out, d); return false })
	return out
}

// Processes are the living processes of a target: those in dirs and below them,
// and pids. What is gone meanwhile is left out.
func (n *Node) Processes(dirs []string, pids []int) []int {
	out := slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return n.Process(pid) != nil })
	for _, dir := range dirs {
		inDir, err := processes(dir)
		if err != nil {
			continue // removed, or not readable: nobody of it can be asked anything
		}
		out = append(out, inDir...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// processes lists the processes in dir and below.
func processes(dir string) ([]int, error) {
	var pids []int
	for _, d := range append([]string{dir}, below(dir, maxDepth)...) {
		b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if gone(err) || errors.Is(err, syscall.EOPNOTSUPP) { // a threaded v2 group lists its processes in its domain
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the processes of cgroup %s: %w", d, err)
		}
		for _, w := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 { // 0: in another pid namespace
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH)
}

// Group is the directory in the cpu hierarchy of a process; ok is false when it
// is the root, in which everything is, or not to be seen here.
func (n *Node) Group(pid int) (dir string, ok bool) {
	cpu, ok := n.CPU()
	if !ok {
		return "", false
	}
	dir, ok = n.groupOf(cpu, pid)
	if path, below := cpu.Path(dir); !ok || !below || path == "/" {
		return "", false
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() { // of another cgroup namespace, or removed
		return "", false
	}
	return dir, true
}

// groupOf is the directory of a process in hierarchy m.
func (n *Node) groupOf(m Mount, pid int) (string, bool) {
	b, err := os.ReadFile(filepath.Join(n.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // cgroups(7)
		if len(f) != 3 {
			continue
		}
		v2 := f[0] == "0" && f[1] == ""
		if m.V2 != v2 || !v2 && !slices.Contains(strings.Split(f[1], ","), m.Controllers[0]) {
			continue
		}
		return m.dir(strings.TrimSuffix(f[2], " (deleted)"))
	}
	return "", false
}

// Process checks that pid is a living process, and not one of the threads of
// another. One that has ended and waits for its parent is gone.
func (n *Node) Process(pid int) error {
	b, err := os.ReadFile(filepath.Join(n.proc, strconv.Itoa(pid), "status"))
	if pid <= 0 || gone(err) {
		return missing("process %d does not exist on this node", pid)
	}
	if err != nil {
		return fmt.Errorf("reading process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if state, ok := strings.CutPrefix(line, "State:"); ok && strings.IndexAny(strings.TrimSpace(state), "ZX") == 0 {
			return missing("process %d has ended", pid)
		}
		if tgid, ok := strings.CutPrefix(line, "Tgid:"); ok {
			if tgid = strings.TrimSpace(tgid); tgid != strconv.Itoa(pid) {
				return missing("%d is a thread of process %s; name the process", pid, tgid)
			}
		}
	}
	return nil
}

// Born is when process pid started, in the kernel's ticks since boot: with pid it
// names one process for ever.
func (n *Node) Born(pid int) (ticks uint64, err error) {
	b, err := os.ReadFile(filepath.Join(n.proc, strconv.Itoa(pid), "stat"))
	if gone(err) {
		return 0, missing("process %d does not exist on this node", pid)
	}
	if err != nil {
		return 0, fmt.Errorf("reading process %d: %w", pid, err)
	}
	// The name may hold anything, parentheses too; starttime is the 20th field after it.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("reading process %d: its stat has %d fields after the name, want 20 and more", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Names maps the ids (inode numbers) of the cpu hierarchy's groups to their paths.
func (n *Node) Names() map[uint64]string {
	out := map[uint64]string{}
	m, ok := n.CPU()
	if !ok {
		return out
	}
	for _, dir := range append([]string{m.Dir}, below(m.Dir, maxDepth)...) {
		var st syscall.Stat_t
		if syscall.Stat(dir, &st) == nil {
			path, _ := m.Path(dir)
			out[st.Ino] = path
		}
	}
	return out
}
