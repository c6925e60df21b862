// Package setup tests the scripts that make a machine able to build and test
// kmend. They are run here with an apt-get of the test's own: nothing is
// downloaded and nothing is installed.
package setup

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a cache folder and a folder of programs that come first in PATH.
type machine struct {
	t          *testing.T
	cache, bin string
}

func newMachine(t *testing.T, programs map[string]string) machine {
	t.Helper()
	m := machine{t: t, cache: t.TempDir(), bin: t.TempDir()}
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/bash\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m machine) run(script string, args ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	cmd := exec.Command("./"+script, args...)
	cmd.Env = append(os.Environ(), "KMEND_CACHE="+m.cache, "PATH="+m.bin+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Go is PATH's if it is new enough; else what was fetched; else it is fetched.
func TestGoFindsOneThatIsNewEnough(t *testing.T) {
	for version, want := range map[string]string{"go1.26.0": "", "go1.27rc1": "", "devel go1.28-abc": "", "go1.25.9": "1.25.9", "go1.19.8": "1.19.8"} {
		m := newMachine(t, map[string]string{"go": "echo " + version, "apt-get": hello, "id": "echo 0"})
		out, errs, code := m.run("go")
		if want == "" {
			if out != m.bin+"\n" || errs != "" || code != 0 {
				t.Errorf("PATH has %s: stdout %q, stderr %q, exit %d; want its folder", version, out, errs, code)
			}
			continue
		}
		// Too old, and this machine's archive has no Go to fetch another with.
		if code != 1 || out != "" || !strings.Contains(errs, "PATH has "+version) || !strings.Contains(errs, "Unable to locate package golang-1.19-go") {
			t.Errorf("PATH has %s: stdout %q, stderr %q, exit %d; want that it is fetched", version, out, errs, code)
		}
		// Too old, and another was fetched before.
		before := filepath.Join(m.cache, "go", "1.26.8", "bin")
		if err := os.MkdirAll(before, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(before, "go"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, errs, code := m.run("go"); out != before+"\n" || code != 0 {
			t.Errorf("PATH has %s, one was fetched: stdout %q, stderr %q, exit %d; want %q", version, out, errs, code, before)
		}
		left, err := filepath.Glob(filepath.Join(m.cache, "go", ".fetch*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// hello is an apt-get whose archive holds one package, hello, with a script.
const hello = `
echo "apt-get $*" >> "$(dirname "$0")/calls"
[ "${*: -2:1}" = download ] || exit 0
[ "${*: -1}" = hello ] || { echo "E: Unable to locate package ${*: -1}"; exit 100; }
d=$(mktemp -d) && mkdir -p "$d/DEBIAN" "$d/usr/bin" && printf '#!/bin/sh\necho hello\n' > "$d/usr/bin/hello" && chmod +x "$d/usr/bin/hello"
printf 'Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n' > "$d/DEBIAN/control"
dpkg-deb --root-owner-group -b "$d" hello_1_all.deb && rm -rf "$d"
`

func TestDebsUnpacksOnce(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb here; runs on Debian")
	}
	m := newMachine(t, map[string]string{"apt-get": hello})
	want := filepath.Join(m.cache, "debs", "hello") + "\n"
	for _, progress := range []string{"debs: fetching hello\n", ""} {
		out, errs, code := m.run("debs", "hello")
		if out != want || errs != progress || code != 0 {
			t.Errorf("stdout %q, stderr %q, exit %d; want stdout %q, stderr %q", out, errs, code, want, progress)
		}
	}
	if b, err := exec.Command(filepath.Join(m.cache, "debs/hello/usr/bin/hello")).Output(); err != nil || string(b) != "hello\n" {
		t.Errorf("the unpacked program: %q, %v", b, err)
	}
	calls, err := os.ReadFile(filepath.Join(m.bin, "calls"))
	if err != nil || strings.Count(string(calls), "\n") != 1 {
		t.Errorf("apt-get was called: %s, %v; want one call", calls, err)
	}
	left, err := filepath.Glob(filepath.Join(m.cache, "debs", ".fetch*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDebsSaysWhatIsWrong(t *testing.T) {
	m := newMachine(t, map[string]string{"apt-get": hello, "id": "echo 0"})
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "usage: debs PKG..."},
		{[]string{"Not/A Package"}, 1, `"Not/A Package" is not the name of a Debian package`},
		{[]string{"nosuch"}, 1, "Unable to locate package nosuch"},
	} {
		out, errs, code := m.run("debs", c.args...)
		if code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("debs %q: stdout %q, stderr %q, exit %d; want %q and exit %d", c.args, out, errs, code, c.want, c.code)
		}
	}
	left, err := os.ReadDir(filepath.Join(m.cache, "debs"))
	if err != nil || len(left) > 1 || left[0].Name() != ".lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestToolsInstallsOnlyWhatIsMissing(t *testing.T) {
	m := newMachine(t, map[string]string{"apt-get": hello, "id": "echo 0", "qemu-system-x86_64": "", "busybox": "", "cpio": ""})
	if out, errs, code := m.run("tools", "kernels"); code != 0 || out+errs != "" {
		t.Errorf("all there: %q, exit %d", out+errs, code)
	}
	if _, err := os.Stat(filepath.Join(m.bin, "calls")); err == nil {
		t.Error("all there, and apt-get was called")
	}
	for args, want := range map[string]string{"": "usage: tools GROUP", "nosuch": `"nosuch" is not a group of tools`} {
		if _, errs, code := m.run("tools", strings.Fields(args)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("tools %s: %q, exit %d; want %q and exit 2", args, errs, code, want)
		}
	}
	old := newMachine(t, map[string]string{"go": "echo go1.19.8"})
	if _, errs, code := old.run("tools", "build"); code != 1 || !strings.Contains(errs, "go1.19.8 is too old: kmend needs Go 1.26") {
		t.Errorf("with Debian's Go: %q, exit %d", errs, code)
	}
}
