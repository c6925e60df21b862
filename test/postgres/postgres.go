// Package postgres runs a PostgreSQL server for tests: the machine's own program,
// or that of Debian's packages as test/setup/debs unpacks them. It listens on a
// Unix socket in a folder of its own and no other place.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kmend/kmend/test/process"
)

// Server is a running one.
type Server struct {
	t   testing.TB
	dir string
	PID int // of the postmaster
	cmd *exec.Cmd
	log bytes.Buffer
	// ended lets the thread go that started it.
	ended func()
	run   func(out *bytes.Buffer, name string, args ...string) *exec.Cmd
}

// ErrNone is that of a machine without PostgreSQL.
var ErrNone = errors.New("no PostgreSQL; fetch it with: test/setup/debs postgresql-15")

// Program finds postgres; libraries is where its own are, where it is not installed.
func Program() (path, libraries string, err error) {
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(installed) > 0 {
		return slices.Max(installed), "", nil
	}
	cache, err := process.Cache()
	if err != nil {
		return "", "", err
	}
	unpacked, _ := filepath.Glob(filepath.Join(cache, "debs/postgresql-*/usr/lib/postgresql/*/bin/postgres"))
	if len(unpacked) == 0 {
		return "", "", ErrNone
	}
	path = slices.Max(unpacked)
	return path, filepath.Join(path, "../../../../"), nil
}

// Start starts a new, empty server, which ends with the test. Its processes are
// moved into the cgroups. Without a PostgreSQL the test is skipped.
func Start(t testing.TB, cgroups ...string) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` as root")
	}
	postgres, libraries, err := Program()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	who := nobody(t)
	if libraries != "" { // in root's cache, where that user may not look
		usr := filepath.Join(postgres, "../../../../../../usr")
		if out, err := exec.Command("cp", "-a", usr, dir).CombinedOutput(); err != nil {
			t.Fatalf("copying %s: %v: %s", usr, err, out)
		}
		version, _ := filepath.Rel(usr, postgres)
		postgres = filepath.Join(dir, "usr", version)
		libs, _ := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-gnu"))
		libraries = strings.Join(libs, ":")
	}
	if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir}
	s.run = func(out *bytes.Buffer, name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(filepath.Dir(postgres), name), args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "LD_LIBRARY_PATH=" + libraries}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if err := s.run(&s.log, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8").Run(); err != nil {
		t.Fatalf("initdb: %v: %s", err, s.log.String())
	}
	s.start()
	t.Cleanup(s.stop)
	s.connected()
	for _, dir := range cgroups {
		for _, pid := range s.PIDs() {
			// A backend whose client has gone may end meanwhile.
			err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	return s
}

func (s *Server) start() {
	s.t.Helper()
	s.cmd = s.run(&s.log, "postgres", "-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "max_connections=300", "-c", "deadlock_timeout=1s", "-c", "max_prepared_transactions=5", "-c", "shared_buffers=16MB")
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the starting *thread* ends, so that thread
		// has to stay for as long as the server runs.
		runtime.LockOSThread()
		started <- s.cmd.Start()
		<-ended
	}()
	s.ended = sync.OnceFunc(func() { close(ended) })
	if err := <-started; err != nil {
		s.ended()
		s.t.Fatal(err)
	}
	s.PID = s.cmd.Process.Pid
}

// Database makes a database and returns its URL: an empty one, or a copy of that at
// the URL like, which nobody is connected to.
func (s *Server) Database(name string, like ...string) (address string) {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatalf("%v: %s", err, s.log.String())
	}
	defer c.Close(context.Background())
	template := "template1"
	for _, l := range like {
		template = s.name(l)
	}
	if _, err := c.Exec(s.t.Context(), fmt.Sprintf(`CREATE DATABASE "%s" TEMPLATE "%s"`, name, template)); err != nil {
		s.t.Fatal(err)
	}
	return "postgres://postgres@/" + name + "?sslmode=disable&host=" + s.dir
}

// Drop ends what is connected to the database at a URL, and removes it.
func (s *Server) Drop(address string) {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatalf("%v: %s", err, s.log.String())
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(context.Background(), fmt.Sprintf(`DROP DATABASE "%s" WITH (FORCE)`, s.name(address))); err != nil {
		s.t.Error(err)
	}
}

func (s *Server) name(address string) string {
	s.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// Hang stops every process of the server where it is, as if its machine hung;
// resume lets them go on.
func (s *Server) Hang() (resume func()) {
	s.t.Helper()
	signal := func(sig syscall.Signal) {
		for _, pid := range s.PIDs() {
			if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				s.t.Error(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// Down ends the server at once, connections and all; up starts it on its data.
func (s *Server) Down() (up func()) {
	s.t.Helper()
	s.stop()
	return func() { s.start(); s.connected() }
}

// stop ends the server at once: nobody needs its data.
func (s *Server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	done := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	done.Stop()
	s.ended()
	// Its children are in its process group, and outlive it by some milliseconds.
	for range 500 {
		if syscall.Kill(-s.PID, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(-s.PID, syscall.SIGKILL)
}

// nobody is a user who is not root: PostgreSQL refuses to run as root.
func nobody(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// connected waits until it answers.
func (s *Server) connected() {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := s.dial()
		if err == nil {
			_ = c.Close(context.Background())
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("PostgreSQL does not answer: %v: %s", err, s.log.String())
		}
	}
}

func (s *Server) dial() (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s user=postgres dbname=postgres sslmode=disable connect_timeout=60", s.dir))
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(s.t.Context(), c)
}

// Connect opens a connection, closed with the test, and says which process serves it.
func (s *Server) Connect() *Conn {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatalf("%v: %s", err, s.log.String())
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return &Conn{Conn: c, t: s.t, PID: int(c.PgConn().PID())}
}

// PIDs are the server's living processes.
func (s *Server) PIDs() []int {
	pids := []int{s.PID}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.PID, s.PID))
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Conn is a connection.
type Conn struct {
	*pgx.Conn
	t   testing.TB
	PID int // of its backend
}

// Do runs statements that must succeed.
func (c *Conn) Do(sql ...string) {
	c.t.Helper()
	for _, q := range sql {
		if _, err := c.Exec(c.t.Context(), q); err != nil {
			c.t.Fatalf("%s: %v", q, err)
		}
	}
}

// Go runs a statement in the background; done waits for it and gives its error.
func (c *Conn) Go(sql string) (done func() error) {
	result := make(chan error, 1)
	go func() {
		_, err := c.Exec(c.t.Context(), sql)
		result <- err
	}()
	return func() error { return <-result }
}
