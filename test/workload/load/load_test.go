package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(ExitEnv) != "" {
		os.Exit(0) // fork mode re-executes this binary
	}
	os.Exit(m.Run())
}

// Every mode starts, says so, ends in time and says what it did.
func TestModes(t *testing.T) {
	for _, mode := range Modes() {
		t.Run(mode, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := []string{"-mode", mode, "-threads", "2", "-duration", "200ms", "-dir", t.TempDir()}
			if code := Main(t.Context(), args, &out, &errs); code != 0 {
				t.Fatalf("status %d: %s", code, errs.String())
			}
			var pid int
			var s Summary
			ready, did, _ := strings.Cut(out.String(), "\n")
			if n, _ := fmt.Sscanf(ready, "ready %d", &pid); n != 1 || pid != os.Getpid() {
				t.Errorf("first line is %q", ready)
			}
			if err := json.Unmarshal([]byte(did), &s); err != nil {
				t.Fatal(err)
			}
			if s.Mode != mode || s.Threads != 2 || s.ElapsedMS < 150 || s.PID != pid {
				t.Errorf("summary is %+v", s)
			}
			if mode == "fork" && s.Born == 0 {
				t.Error("nothing was born")
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-mode", "dance"}, 1, `mode is "dance", allowed are [`},
		{[]string{"-threads", "0"}, 1, "threads is 0, allowed are 1 to 1024"},
		{[]string{"-on", "0s"}, 1, "must be more than 0"},
		{[]string{"-cgroup", "/nowhere"}, 1, "moving into cgroup"},
		{[]string{"-cpus", "a"}, 2, `"a" is not a CPU number`},
		{[]string{"more"}, 2, `unexpected argument "more"`},
	} {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v: status %d, %q; want %d with %q", c.args, code, errs.String(), c.code, c.want)
		}
	}
}
