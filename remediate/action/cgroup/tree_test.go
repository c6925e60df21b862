package cgroup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/cgroup"
)

// unified builds a cgroup v2 tree of plain files and a procfs that says that it
// is mounted: what the rules of paths and files come to on v2, on any machine.
// real_test.go does the same on a real v2 kernel where there is one (test/kernels).
func unified(t *testing.T) (proc, root string) {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	proc, root = filepath.Join(base, "proc"), filepath.Join(base, "cgroup")
	app := root + "/system.slice/app.service"
	for _, dir := range []string{proc + "/self", proc + "/42", proc + "/43", app, root + "/user.slice"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, proc+"/self/mountinfo", fmt.Sprintf("30 20 0:26 / %s rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", root))
	write(t, proc+"/42/cgroup", "0::/system.slice/app.service\n")
	write(t, proc+"/43/cgroup", "0::/../elsewhere\n")
	write(t, root+"/cgroup.controllers", "cpuset cpu io memory pids\n")
	write(t, root+"/system.slice/cpu.max", "max 100000\n")
	write(t, app+"/cpu.max", "300000 1000000\n")
	return proc, root
}

func TestUnifiedTree(t *testing.T) {
	proc, root := unified(t)
	app := root + "/system.slice/app.service"
	a := setter(t, cgroup.Options{Proc: proc})
	for name, target := range map[string]incident.Target{
		"cgroup": {Cgroup: app}, "pid": {PID: 42}, "unit": {Unit: "app.service"},
	} {
		t.Run(name, func(t *testing.T) {
			step := preview(t, a, target)
			want := "raise the CPU quota of cgroup " + app + " from 0.3 to 0.6 CPU; systemd sets it back when it reloads its units, CPUQuota= is where it lasts"
			if step.Preview.Summary != want {
				t.Errorf("summary %q\nwant    %q", step.Preview.Summary, want)
			}
			done, err := a.Apply(t.Context(), target, step)
			if err != nil || read(t, app+"/cpu.max") != "600000 1000000\n" {
				t.Fatalf("apply: %v, cpu.max %q", err, read(t, app+"/cpu.max"))
			}
			if _, err := a.Undo(t.Context(), target, step, done); err != nil || read(t, app+"/cpu.max") != "300000 1000000\n" {
				t.Fatalf("undo: %v, cpu.max %q", err, read(t, app+"/cpu.max"))
			}
		})
	}
}

func TestUnifiedTreeRefusals(t *testing.T) {
	proc, root := unified(t)
	a := setter(t, cgroup.Options{Proc: proc})
	refused := func(target incident.Target, want string) {
		t.Helper()
		if _, err := a.Preview(t.Context(), target, double); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", target, err, want)
		}
	}
	refused(incident.Target{Cgroup: root}, "is the root of its hierarchy")
	refused(incident.Target{Cgroup: root + "/user.slice"}, "has no CPU quota, and none above it") // no cpu controller below the root
	refused(incident.Target{PID: 43}, "is outside the mount at")
	write(t, root+"/system.slice/cpu.max", "50000 100000")
	refused(incident.Target{PID: 42}, "the new quota 0.6 CPU would be over the 0.5 CPU of "+root+"/system.slice above it")
	if err := os.MkdirAll(root+"/user.slice/app.service", 0o755); err != nil {
		t.Fatal(err)
	}
	refused(incident.Target{Unit: "app.service"}, "2 cgroups have that name, must be exactly one")
	write(t, root+"/cgroup.controllers", "memory pids\n")
	refused(incident.Target{PID: 42}, "no cgroup hierarchy with the cpu controller is mounted here")
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]cgroup.Options{
		"CPUs is -1, must be at least 1":                              {CPUs: -1},
		`Proc is "proc", must be an absolute path`:                    {Proc: "proc"},
		`AllowedRoots[1] is "/a/../b", must be a clean absolute path`: {AllowedRoots: []string{"/a", "/a/../b"}},
	} {
		if _, err := cgroup.NewSetCPUQuota(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	o, err := cgroup.DefaultOptions()
	if err != nil || o.Node == "" || o.CPUs < 1 {
		t.Errorf("DefaultOptions() = %+v, %v", o, err)
	}
}
