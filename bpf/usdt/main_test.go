package usdt

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed testdata/points
var points []byte

//go:embed testdata/points.arm64
var pointsARM64 []byte

// native is points for the machine that the test runs on.
func native() []byte {
	if runtime.GOARCH == "arm64" {
		return pointsARM64
	}
	return points
}

// The test binary is also a tracer that can be killed, and what starts points in
// a container's namespaces.
func TestMain(m *testing.M) {
	switch os.Getenv("KMEND_USDT_AS") {
	case "tracer":
		os.Exit(report(traceForEver()))
	case "container":
		os.Exit(report(contain()))
	}
	os.Exit(m.Run())
}

func report(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// contain runs points with a root of its own that nobody else has mounted.
func contain() error {
	dir, err := os.MkdirTemp("", "root")
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "points")
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("kmend", dir, "tmpfs", 0, ""),
		os.WriteFile(program, native(), 0o755),
		unix.Chroot(dir),
		unix.Exec("/points", []string{"points"}, nil),
	)
}

// start runs points from a file of the test.
func start(t *testing.T) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "points")
	if err := os.WriteFile(path, native(), 0o755); err != nil {
		t.Fatal(err)
	}
	return run(t, exec.Command(path))
}

type process struct {
	t       *testing.T
	pid     int
	mapping Mapping  // its code
	file    *os.File // the program
	elf     *File
	bias    uint64 // of its addresses
}

func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root and runs in `make test` and test/kernels as root")
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &process{t: t, pid: cmd.Process.Pid}
	waitFor(t, "the program runs", func() bool {
		_ = Mappings("/proc", p.pid, func(m Mapping) bool {
			if m.Executable && filepath.Base(m.Path) == "points" {
				p.mapping = m
			}
			return true
		})
		return p.mapping.Start != 0
	})
	var err error
	if p.file, err = p.mapping.Open("/proc", p.pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.file.Close() })
	if p.elf, err = NewFile(p.file); err != nil {
		t.Fatal(err)
	}
	addr, ok := p.elf.Address(p.mapping.Offset)
	if !ok {
		t.Fatalf("offset %#x is in no segment", p.mapping.Offset)
	}
	p.bias = p.mapping.Start - addr
	return p
}

// peek reads the process's memory where a byte of the file is.
func (p *process) peek(offset uint64, b []byte) {
	p.t.Helper()
	addr, ok := p.elf.Address(offset)
	if !ok {
		p.t.Fatalf("offset %#x is in no segment", offset)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(b, int64(p.bias+addr)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) semaphore() int {
	p.t.Helper()
	var b [2]byte
	p.peek(probeOf(p.t, p.elf, "tick").Semaphore, b[:])
	return int(b[0]) | int(b[1])<<8
}

func (p *process) instruction(name string) byte {
	p.t.Helper()
	var b [1]byte
	p.peek(probeOf(p.t, p.elf, name).Location, b[:])
	return b[0]
}

func probeOf(t *testing.T, f *File, name string) Probe {
	t.Helper()
	probes, err := f.Probes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range probes {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no probe %s in %v", name, probes)
	return Probe{}
}

// waitFor fails the test when a minute is not enough: it is not a bound on speed.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute until %s", what)
		}
	}
}

func container() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "KMEND_USDT_AS=container")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	return cmd
}
