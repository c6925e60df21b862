// Package redis runs real Redis servers for tests: alone, with Sentinels, or as
// a Cluster. The program is the machine's own, or that of Debian's redis-tools
// as test/setup/debs unpacks it, which has the server in it. They listen on free
// ports of the loopback and end with the test.
package redis

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"

	"github.com/kmend/kmend/test/process"
)

// ErrNone is that of a machine without Redis.
var ErrNone = errors.New("no Redis; fetch it with: test/setup/debs redis-tools")

// Server is a running server or Sentinel.
type Server struct {
	*process.Process
	Addr   string
	Client *client.Client // with the password, if there is one
	t      testing.TB
}

// program finds redis-server; libraries is where its own are, where it is not installed.
func program() (path string, libraries []string, err error) {
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path, nil, nil
	}
	cache, err := process.Cache()
	if err != nil {
		return "", nil, err
	}
	root := filepath.Join(cache, "debs/redis-tools/usr")
	path = filepath.Join(root, "bin/redis-check-rdb")
	if _, err := os.Stat(path); err != nil {
		return "", nil, ErrNone
	}
	libraries, _ = filepath.Glob(filepath.Join(root, "lib/*-linux-gnu"))
	return path, libraries, nil
}

// Available skips the test on a machine without Redis.
func Available(t testing.TB) {
	t.Helper()
	if _, _, err := program(); errors.Is(err, ErrNone) {
		t.Skip(err)
	}
}

// Start starts a server with the lines of configuration given, and returns once
// it answers. A line "requirepass X" counts for Server.Client too, and
// with Certificates.Config it speaks TLS only.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	return start(t, nil, config...)
}

func start(t testing.TB, args []string, config ...string) *Server {
	t.Helper()
	path, libraries, err := program()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The program looks at its own name: as redis-check-rdb it is another one.
	own := filepath.Join(dir, "redis-server")
	if err := os.Symlink(path, own); err != nil {
		t.Fatal(err)
	}
	addr, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	ports, secure := []string{"port " + port}, transport(t, config)
	if secure != nil {
		ports = []string{"port 0", "tls-port " + port}
	}
	lines := append(append([]string{"bind 127.0.0.1", "dir " + dir, "daemonize no"}, ports...), config...)
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Spec{Name: "redis-server", Path: own, Args: append([]string{file}, args...), Dir: dir,
		Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Process: p, Addr: addr, t: t}
	t.Cleanup(func() { _ = p.Kill() }) // nobody needs its data
	options := client.Options{Addr: addr, TLSConfig: secure, Protocol: 2, DisableIdentity: true, DialTimeout: time.Second, ReadTimeout: 5 * time.Second}
	for _, l := range config {
		if pass, ok := strings.CutPrefix(l, "requirepass "); ok {
			options.Password = pass
		}
	}
	s.Client = client.NewClient(&options)
	t.Cleanup(func() { s.Client.Close() })
	s.Until("it answers", func() error { return s.Client.Ping(t.Context()).Err() })
	return s
}

// Do sends a command and returns its answer.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	v, err := s.Client.Do(s.t.Context(), args...).Result()
	if err != nil {
		s.t.Fatalf("%v at %s: %v", args, s.Addr, err)
	}
	return v
}

// Info is a field of INFO, "" where it has none.
func (s *Server) Info(field string) string {
	text, err := s.Client.Info(s.t.Context(), "everything").Result()
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Until waits until f returns nil, for 20 s at most.
func (s *Server) Until(what string, f func() error) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if ended := s.Ended(); ended != nil {
			s.t.Fatal(ended)
		}
		if time.Now().After(end) {
			s.t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// has waits until a field of INFO is as wanted.
func (s *Server) has(field, want string) {
	s.t.Helper()
	s.Until(field+" is "+want, func() error {
		if got := s.Info(field); got != want {
			return fmt.Errorf("%s is %q", field, got)
		}
		return nil
	})
}

// quick are lines that make a server replicate at once and keep nothing.
func quick() []string {
	return []string{`save ""`, "appendonly no", "repl-diskless-sync yes", "repl-diskless-sync-delay 0", "repl-ping-replica-period 1"}
}
