package jvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kmend/kmend/bpf/usdt"
	"golang.org/x/sys/unix"
)

// machine is a virtual machine that is measured.
type machine struct {
	pid     int
	library library
	memory  *os.File     // of the process
	perf    usdt.Mapping // of its performance data; Start is 0 where it has none in a file
	before  counters
	unread  error
}

// library names a libjvm.so.
type library struct {
	device string
	inode  uint64
}

// object is one that was opened.
type object struct {
	file     *os.File
	usdt     *usdt.Object
	unprobed error
}

// scene is who is measured in one window.
type scene struct {
	proc     string
	machines []*machine
	objects  map[library]*object
	missed   int // virtual machines over the bound
}

// find looks for libjvm.so in the processes. Those that end meanwhile are left out.
func find(proc string, pids []int, most int) (*scene, error) {
	s := &scene{proc: proc, objects: map[library]*object{}}
	for _, pid := range pids {
		var code, perf usdt.Mapping
		err := usdt.Mappings(proc, pid, func(m usdt.Mapping) bool {
			switch name := strings.TrimSuffix(m.Path, " (deleted)"); {
			case m.Executable && filepath.Base(name) == "libjvm.so" && code.Start == 0:
				code = m
			case strings.HasPrefix(filepath.Base(filepath.Dir(name)), "hsperfdata_"):
				perf = m
			}
			return true
		})
		switch {
		case gone(err) || err == nil && code.Start == 0:
			continue
		case err != nil:
			return s, err
		case len(s.machines) == most:
			s.missed++
			continue
		}
		if err := s.add(pid, code, perf); err != nil && !gone(err) {
			return s, fmt.Errorf("looking at process %d: %w", pid, err)
		}
	}
	return s, nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

func (s *scene) add(pid int, code, perf usdt.Mapping) error {
	m := &machine{pid: pid, library: library{code.Device, code.Inode}, perf: perf}
	if s.objects[m.library] == nil {
		file, err := code.Open(s.proc, pid)
		if err != nil {
			return err
		}
		o := &object{file: file}
		s.objects[m.library] = o
		o.usdt, o.unprobed = usdt.ReadObject(file, "hotspot", "hs_private")
	}
	var err error
	if m.memory, err = os.Open(filepath.Join(s.proc, strconv.Itoa(pid), "mem")); err != nil {
		return err
	}
	s.machines = append(s.machines, m)
	return nil
}

func (s *scene) close() {
	for _, m := range s.machines {
		m.memory.Close()
	}
	for _, o := range s.objects {
		o.file.Close()
	}
}

// counters reads the performance data where the virtual machine itself has them,
// whatever the file is called and wherever it is.
func (m *machine) counters() (counters, error) {
	size := m.perf.End - m.perf.Start
	switch {
	case m.perf.Start == 0:
		return counters{}, errors.New("it has no performance data in a file (-XX:-UsePerfData or -XX:+PerfDisableSharedMem)")
	case size > maxPerfData:
		return counters{}, fmt.Errorf("its performance data have %d bytes, allowed are %d", size, maxPerfData)
	}
	b := make([]byte, size)
	if _, err := m.memory.ReadAt(b, int64(m.perf.Start)); err != nil {
		return counters{}, fmt.Errorf("reading its performance data: %w", err)
	}
	return parsePerfData(b)
}

// maxThreads bounds the names that are read of one process.
const maxThreads = 4096

// collector names the collector by its threads.
func (m *machine) collector(proc string) string {
	dir, err := os.Open(filepath.Join(proc, strconv.Itoa(m.pid), "task"))
	if err != nil {
		return ""
	}
	defer dir.Close()
	tids, _ := dir.Readdirnames(maxThreads)
	name := "Serial"
	for _, tid := range tids {
		comm, err := os.ReadFile(filepath.Join(dir.Name(), tid, "comm"))
		if err != nil {
			continue
		}
		switch c := string(comm); {
		case strings.HasPrefix(c, "G1 "):
			return "G1"
		case strings.HasPrefix(c, "ZDriver"), strings.HasPrefix(c, "XDriver"):
			return "ZGC"
		case strings.HasPrefix(c, "Shenandoah"):
			return "Shenandoah"
		case strings.HasPrefix(c, "GC Thread#"):
			name = "Parallel"
		}
	}
	return name
}
