package symbols

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary is also the Go program whose stacks are named.
const spinEnv = "KMEND_SYMBOLS_SPIN"

func TestMain(m *testing.M) {
	if os.Getenv(spinEnv) != "" {
		runtime.LockOSThread()
		fmt.Printf("ready %d %d\n", os.Getpid(), unix.Gettid())
		(&service{}).handle(map[string]int{"a": 1})
	}
	os.Exit(m.Run())
}

type service struct{ count uint64 }

//go:noinline
func (s *service) handle(m map[string]int) {
	var frame [300]byte
	for i := range frame {
		frame[i] = byte(m["a"])
	}
	spinWith(s, frame[:])
}

//go:noinline
func spinWith[T any](s *service, frame []T) {
	spin(&s.count)
	runtime.KeepAlive(frame)
}

// spin has no frame of its own, so frame pointers alone would lose its caller.
//
//go:noinline
func spin(n *uint64) {
	for {
		*n++
	}
}

func TestGo(t *testing.T) {
	const pkg = "github.com/kmend/kmend/diagnose/agent/symbols."
	exe := filepath.Join(t.TempDir(), "service")
	copyFile(t, "/proc/self/exe", exe)
	stripped := exe + "-stripped"
	for _, c := range []struct {
		name  string
		strip bool
		exe   string
	}{{"as built", false, exe}, {"stripped", true, stripped}} {
		t.Run(c.name, func(t *testing.T) {
			if c.strip {
				strip, err := exec.LookPath("strip")
				if err != nil {
					t.Skip("needs strip and runs in `make test` on Debian with binutils installed")
				}
				if b, err := exec.Command(strip, "-o", stripped, exe).CombinedOutput(); err != nil {
					t.Fatalf("strip: %v\n%s", err, b)
				}
			}
			cmd := exec.Command(c.exe)
			cmd.Env = append(os.Environ(), spinEnv+"=1")
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			var pid, tid int
			if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %d %d\n", &pid, &tid); err != nil {
				t.Fatal(err)
			}
			spinning(t, pid)
			var st Stack
			// The runtime interrupts it with a signal now and then.
			for range 20 {
				if st = resolve(t, capture(t, pid, tid)).Stacks[0]; st.User[0].Func == pkg+"spin" {
					break
				}
			}
			module := " (" + filepath.Base(c.exe) + ")"
			inOrder(t, st.User, pkg+"spin"+module, pkg+"spinWith[...]"+module, pkg+"(*service).handle"+module, pkg+"TestMain"+module,
				"main.main"+module, "runtime.main"+module, "runtime.goexit"+module)
			if !st.Whole || len(st.User) != 7 || st.User[1].Kind != Go {
				t.Errorf("whole %v, %d frames, kind %s", st.Whole, len(st.User), st.User[1].Kind)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
