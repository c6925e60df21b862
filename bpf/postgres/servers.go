package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kmend/kmend/bpf/usdt"
	"golang.org/x/sys/unix"
)

// maxServers bounds the programs of a target that are looked into.
const maxServers = 4

// server is a PostgreSQL program that processes of the target run.
type server struct {
	file   *os.File
	elf    *usdt.File
	object *usdt.Object
	myProc uint64 // the variable's address in the file; 0: it has none
	layout layout
}

// scene is who is measured in one window.
type scene struct {
	proc     string
	max      int
	servers  map[program]*server
	backends map[int]*backend // by pid
	inside   map[string]int   // pid by namespace and pid in it
	unread   error            // why a backend's memory cannot be read
}

func newScene(proc string, max int) *scene {
	return &scene{proc: proc, max: max, servers: map[program]*server{}, backends: map[int]*backend{}, inside: map[string]int{}}
}

func (s *scene) close() {
	for _, b := range s.backends {
		if b.memory.f != nil {
			b.memory.f.Close()
		}
	}
	for _, srv := range s.servers {
		srv.file.Close()
	}
}

// add takes the processes among pids that run PostgreSQL; those that end
// meanwhile are left out.
func (s *scene) add(pids []int) error {
	for _, pid := range pids {
		if s.backends[pid] != nil || len(s.backends) >= s.max || !isPostgres(s.proc, pid) {
			continue
		}
		if err := s.addOne(pid); err != nil && !gone(err) {
			return fmt.Errorf("looking at process %d: %w", pid, err)
		}
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

func (s *scene) addOne(pid int) error {
	name, code, err := image(s.proc, pid)
	if err != nil {
		return err
	}
	if code.Start == 0 {
		return nil // it is about to end
	}
	b := &backend{pid: pid, file: name}
	if b.inside, b.ns, err = inner(s.proc, pid); err != nil {
		return err
	}
	srv := s.servers[name]
	if srv == nil {
		if len(s.servers) == maxServers {
			return nil
		}
		if srv, err = s.open(pid); err != nil {
			return err
		}
		s.servers[name] = srv
	}
	if at, ok := srv.elf.Address(code.Offset); ok && srv.myProc != 0 {
		b.myProc = srv.myProc + code.Start - at
		if b.memory, err = openMemory(s.proc, pid); err != nil && !gone(err) {
			s.unread = err
		}
	}
	s.backends[pid] = b
	s.inside[b.ns+" "+strconv.Itoa(b.inside)] = pid
	s.learn(srv, b)
	return nil
}

// open reads the program that a process runs.
func (s *scene) open(pid int) (*server, error) {
	file, err := os.Open(filepath.Join(s.proc, strconv.Itoa(pid), "exe")) // the inode it runs, whatever has its name now
	if err != nil {
		return nil, err
	}
	srv := &server{file: file, layout: layout{pid: -1, waitLock: -1}}
	srv.elf, err = usdt.NewFile(file)
	if err == nil {
		srv.object, err = usdt.ReadObject(file, "postgresql")
	}
	if err == nil {
		srv.myProc, _, err = srv.elf.Symbol("MyProc")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return srv, nil
}

// learn finds PGPROC.pid; what cannot be read is no wait.
func (s *scene) learn(srv *server, b *backend) {
	if b.memory.f == nil || srv.layout.pid >= 0 {
		return
	}
	proc, err := b.memory.pointer(b.myProc)
	if err != nil {
		if !gone(err) {
			s.unread = err
		}
		return
	}
	if proc == 0 {
		return
	}
	if p, err := b.memory.bytes(proc, procSize); err == nil {
		srv.layout.learnPID(p, b.inside)
	}
}

// look reads whether a backend waits and who is in its way.
func (s *scene) look(b *backend) (w waiter, ok bool, in blocker) {
	in.pid = -1
	if b.memory.f == nil {
		return w, false, in
	}
	l := &s.servers[b.file].layout
	w, ok, err := l.waiting(b)
	if err != nil || !ok {
		return w, false, in
	}
	for range 3 { // others change the list while it is read, without us holding its lock
		if found, err := l.blocker(b, w); err == nil {
			return w, true, found
		}
	}
	return w, true, in
}
