package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/cgroup"
)

// The tests of this file change real groups of the machine's own cpu
// controller: v1 or v2, whichever this machine has. They need root.

// tree is a temporary group below the root of a hierarchy.
type tree struct {
	t    *testing.T
	v2   bool
	root string // of the hierarchy
	dir  string // the temporary group
}

// realTree makes the temporary group in the hierarchy that has the cpu controller.
func realTree(t *testing.T) *tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs in `make test` as root")
	}
	tr := &tree{t: t, root: "/sys/fs/cgroup/cpu"}
	if _, err := os.Stat(filepath.Join(tr.root, "cpu.cfs_quota_us")); err != nil {
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil || !strings.Contains(string(b), "cpu") {
			t.Skip("this machine mounts no cpu controller: runs in `make test` on Debian and in test/kernels")
		}
		tr.root, tr.v2 = "/sys/fs/cgroup", true
		write(t, tr.root+"/cgroup.subtree_control", "+cpu")
	}
	tr.dir = tr.mkdir(fmt.Sprintf("kmend-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")))
	return tr
}

// mkdir makes a group below the root (or an absolute path) and removes it at the end.
func (tr *tree) mkdir(name string) string {
	tr.t.Helper()
	dir := name
	if !filepath.IsAbs(name) {
		dir = filepath.Join(tr.root, name)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist); err = os.Remove(dir) {
			if time.Now().After(deadline) {
				tr.t.Errorf("removing a test group: %v", err)
				return
			}
			time.Sleep(10 * time.Millisecond) // until its processes are reaped
		}
	})
	if tr.v2 && filepath.Dir(dir) != tr.root {
		write(tr.t, filepath.Dir(dir)+"/cgroup.subtree_control", "+cpu")
	}
	return dir
}

func (tr *tree) set(dir string, quota int) {
	tr.t.Helper()
	if tr.v2 {
		write(tr.t, dir+"/cpu.max", strings.Replace(fmt.Sprintf("%d 100000", quota), "-1 ", "max ", 1))
		return
	}
	write(tr.t, dir+"/cpu.cfs_quota_us", strconv.Itoa(quota))
}

func (tr *tree) quota(dir string) string {
	tr.t.Helper()
	if tr.v2 {
		return strings.Fields(read(tr.t, dir+"/cpu.max"))[0]
	}
	return strings.TrimSpace(read(tr.t, dir+"/cpu.cfs_quota_us"))
}

// spawn runs a sleeping process in the groups given and ends it at the end.
func (tr *tree) spawn(dirs ...string) int {
	tr.t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for _, dir := range dirs {
		write(tr.t, dir+"/cgroup.procs", strconv.Itoa(cmd.Process.Pid))
	}
	return cmd.Process.Pid
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// setter is the action with CPUs enough for every test, whatever machine this is.
func setter(t *testing.T, o cgroup.Options) *cgroup.SetCPUQuota {
	t.Helper()
	if o.CPUs == 0 {
		o.CPUs = 4
	}
	a, err := cgroup.NewSetCPUQuota(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var double = map[string]any{"factor": 2, "max": "4"}

func preview(t *testing.T, a *cgroup.SetCPUQuota, target incident.Target) incident.Step {
	t.Helper()
	p, err := a.Preview(t.Context(), target, double)
	if err != nil {
		t.Fatal(err)
	}
	return incident.Step{Action: a.Name(), With: double, Preview: &p}
}

func TestRealRaiseAndUndo(t *testing.T) {
	tr := realTree(t)
	tr.set(tr.dir, 30_000)
	a, target := setter(t, cgroup.Options{}), incident.Target{Cgroup: tr.dir}
	step := preview(t, a, target)
	if p := step.Preview; p.Before != "0.3 CPU" || p.After != "0.6 CPU" || p.Summary != "raise the CPU quota of cgroup "+tr.dir+" from 0.3 to 0.6 CPU" {
		t.Fatalf("preview: %+v", p)
	}
	if got := tr.quota(tr.dir); got != "30000" {
		t.Fatalf("the preview changed the quota to %s", got)
	}
	done, err := a.Apply(t.Context(), target, step)
	if err != nil || done.Result != "applied" || tr.quota(tr.dir) != "60000" {
		t.Fatalf("apply: %+v, %v, quota %s", done, err, tr.quota(tr.dir))
	}
	again, err := a.Apply(t.Context(), target, step)
	if err != nil || again.Result != "already applied" || tr.quota(tr.dir) != "60000" {
		t.Fatalf("second apply: %+v, %v, quota %s", again, err, tr.quota(tr.dir))
	}
	for _, d := range []incident.Execution{again, done} { // the first undo acts, the second finds it done
		x, err := a.Undo(t.Context(), target, step, d)
		if err != nil || x.Result != "undone" || x.After != "0.3 CPU" || tr.quota(tr.dir) != "30000" {
			t.Fatalf("undo: %+v, %v, quota %s", x, err, tr.quota(tr.dir))
		}
	}
}

func TestRealStateMoved(t *testing.T) {
	tr := realTree(t)
	tr.set(tr.dir, 30_000)
	a, target := setter(t, cgroup.Options{}), incident.Target{Cgroup: tr.dir}
	step := preview(t, a, target)

	tr.set(tr.dir, 45_000) // somebody else
	if _, err := a.Apply(t.Context(), target, step); err == nil || !strings.Contains(err.Error(), "its quota is 0.45 CPU now and was 0.3 CPU in the plan; nothing was changed") {
		t.Fatalf("apply on a changed quota: %v", err)
	}
	if got := tr.quota(tr.dir); got != "45000" {
		t.Fatalf("quota %s", got)
	}

	tr.set(tr.dir, 30_000)
	done, err := a.Apply(t.Context(), target, step)
	if err != nil {
		t.Fatal(err)
	}
	tr.set(tr.dir, 90_000) // somebody else
	if _, err := a.Undo(t.Context(), target, step, done); err == nil || !strings.Contains(err.Error(), "somebody changed it since, so it stays") {
		t.Fatalf("undo of a changed quota: %v", err)
	}
	if got := tr.quota(tr.dir); got != "90000" {
		t.Fatalf("quota %s", got)
	}
}

func TestRealGroupMadeAgain(t *testing.T) {
	tr := realTree(t)
	dir := filepath.Join(tr.dir, "app")
	tr.mkdir(dir)
	tr.set(dir, 30_000)
	a, target := setter(t, cgroup.Options{}), incident.Target{Cgroup: dir}
	step := preview(t, a, target)
	done, err := a.Apply(t.Context(), target, step)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if x, err := a.Undo(t.Context(), target, step, done); err != nil || x.After != "the cgroup is gone" {
		t.Fatalf("undo on a group that is gone: %+v, %v", x, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr.set(dir, 30_000)
	if _, err := a.Apply(t.Context(), target, step); err == nil || !strings.Contains(err.Error(), "was removed and made again since the plan") {
		t.Fatalf("apply on a new group: %v", err)
	}
	tr.set(dir, 60_000) // the new group happens to have what kmend had set in the old one
	if x, err := a.Undo(t.Context(), target, step, done); err != nil || x.After != "the cgroup is gone" || tr.quota(dir) != "60000" {
		t.Fatalf("undo on a new group: %+v, %v, quota %s", x, err, tr.quota(dir))
	}
}

func TestRealAncestors(t *testing.T) {
	tr := realTree(t)
	child := tr.mkdir(filepath.Join(tr.dir, "pod"))
	leaf := tr.mkdir(filepath.Join(child, "app"))
	a := setter(t, cgroup.Options{})
	refused := func(want string) {
		t.Helper()
		if _, err := a.Preview(t.Context(), incident.Target{Cgroup: leaf}, double); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("error %v, want %q", err, want)
		}
	}
	refused("has no CPU quota, and none above it: nothing to raise")
	tr.set(tr.dir, 50_000)
	refused(tr.dir + " above it is limited to 0.5 CPU, and all its groups share that")
	tr.set(child, 40_000)
	refused("2 groups above it have one, the nearest is " + child + " with 0.4 CPU")
	tr.set(leaf, 30_000)
	refused("the new quota 0.6 CPU would be over the 0.4 CPU of " + child)
	tr.set(leaf, 40_000)
	refused("nothing to raise: the quota is 0.4 CPU, and " + child + " above it allows 0.4 CPU")
	tr.set(leaf, 20_000)
	step := preview(t, a, incident.Target{Cgroup: leaf})
	if step.Preview.After != "0.4 CPU" {
		t.Fatalf("preview: %+v", step.Preview)
	}
	if tr.v2 {
		return
	}
	// The kernel has the last word on v1: the ancestor's quota sinks after the preview.
	tr.set(child, 25_000)
	if _, err := a.Apply(t.Context(), incident.Target{Cgroup: leaf}, step); err == nil || !strings.Contains(err.Error(), "the kernel refuses it: on cgroup v1 a quota may not be over that of a group above") {
		t.Fatalf("apply over the parent's quota: %v", err)
	}
	if got := tr.quota(leaf); got != "20000" {
		t.Fatalf("quota %s", got)
	}
}

func TestRealProcess(t *testing.T) {
	tr := realTree(t)
	tr.set(tr.dir, 30_000)
	other := tr.mkdir(tr.dir + "-other")
	pid := tr.spawn(tr.dir)
	a, target := setter(t, cgroup.Options{}), incident.Target{PID: pid}
	step := preview(t, a, target)
	if got := step.Preview.Apply["directory"]; got != tr.dir {
		t.Fatalf("directory %s, want %s", got, tr.dir)
	}
	// The process moves on: its new group is not what was planned for.
	write(t, other+"/cgroup.procs", strconv.Itoa(pid))
	if _, err := a.Apply(t.Context(), target, step); err == nil || !strings.Contains(err.Error(), "the target's cgroup is "+other+" now") {
		t.Fatalf("apply after the process moved: %v", err)
	}
	if got := tr.quota(tr.dir); got != "30000" {
		t.Fatalf("quota %s", got)
	}
}

// On v1 the target may be a directory of any controller.
func TestRealOtherController(t *testing.T) {
	tr := realTree(t)
	if tr.v2 {
		t.Skip("cgroup v2 has one hierarchy: runs where the cpu controller is v1")
	}
	pids := &tree{t: t, root: "/sys/fs/cgroup/pids"}
	target := incident.Target{Cgroup: pids.mkdir(filepath.Base(tr.dir))}
	inner := pids.mkdir(filepath.Join(target.Cgroup, "inner"))
	tr.set(tr.dir, 30_000)
	a := setter(t, cgroup.Options{})
	refused := func(want string) {
		t.Helper()
		if _, err := a.Preview(t.Context(), target, double); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("error %v, want %q", err, want)
		}
	}
	refused("has no processes, so its group in the cpu hierarchy is unknown")
	tr.spawn(inner)
	refused("/sys/fs/cgroup/cpu is the root of its hierarchy")
	stray := tr.spawn(tr.dir, inner)
	refused("are in 2 groups of the cpu hierarchy")
	for field := range strings.FieldsSeq(read(t, inner+"/cgroup.procs")) {
		write(t, tr.dir+"/cgroup.procs", field)
	}
	step := preview(t, a, target)
	if got := step.Preview.Apply["directory"]; got != tr.dir {
		t.Fatalf("directory %s, want %s", got, tr.dir)
	}
	write(t, pids.root+"/cgroup.procs", strconv.Itoa(stray))
	refused("share the cpu group " + tr.dir + " with others (pid " + strconv.Itoa(stray) + ")")
	// A quota that is at work is still raised by the plan: Apply locates the target again.
	if _, err := a.Apply(t.Context(), target, step); err == nil || tr.quota(tr.dir) != "30000" {
		t.Fatalf("apply with a stranger in the group: %v", err)
	}
}

func TestRealRefusals(t *testing.T) {
	tr := realTree(t)
	tr.set(tr.dir, 30_000)
	pods := tr.mkdir(filepath.Join(tr.dir, "kubepods"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tr.dir, link); err != nil {
		t.Fatal(err)
	}
	a := setter(t, cgroup.Options{Node: "here", AllowedRoots: []string{tr.root}})
	for name, c := range map[string]struct {
		target incident.Target
		with   map[string]any
		want   string
	}{
		"other node":    {incident.Target{Node: "there", Cgroup: tr.dir}, double, `the target is on node "there" and this is "here"`},
		"root":          {incident.Target{Cgroup: tr.root}, double, "is the root of its hierarchy"},
		"climbs out":    {incident.Target{Cgroup: tr.dir + "/../../../../../proc"}, double, "/proc is not below a cgroup mount"},
		"climbs up":     {incident.Target{Cgroup: tr.dir + "/.."}, double, "is the root of its hierarchy"},
		"not a cgroup":  {incident.Target{Cgroup: "/proc"}, double, "/proc is not below a cgroup mount"},
		"relative":      {incident.Target{Cgroup: "kmend"}, double, "is not an absolute path"},
		"missing":       {incident.Target{Cgroup: tr.dir + "/nothing"}, double, "no such file or directory"},
		"pod":           {incident.Target{Namespace: "a", Pod: "b", Cgroup: tr.dir}, double, "use kubernetes.resize_cpu"},
		"kubelet's":     {incident.Target{Cgroup: pods}, double, "belongs to the kubelet"},
		"only a node":   {incident.Target{Node: "here"}, double, "names no cgroup, unit or process"},
		"no process":    {incident.Target{PID: 1 << 30}, double, "looking up the cgroup of pid"},
		"unit form":     {incident.Target{Unit: "../x.service"}, double, "is not a systemd unit with processes"},
		"unit unknown":  {incident.Target{Unit: "kmend-nothing.service"}, double, "looking up unit kmend-nothing.service: 0 cgroups have that name"},
		"no max":        {incident.Target{Cgroup: tr.dir}, map[string]any{"factor": 2}, "with.max is missing"},
		"factor":        {incident.Target{Cgroup: tr.dir}, map[string]any{"factor": 0.5, "max": 1}, "with.factor: 0.5 is out of bounds"},
		"unknown param": {incident.Target{Cgroup: tr.dir}, map[string]any{"cpu": 1}, "with.cpu: unknown parameter"},
	} {
		if _, err := a.Preview(t.Context(), c.target, c.with); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if got := preview(t, a, incident.Target{Node: "here", Cgroup: link}).Preview.Apply["directory"]; got != tr.dir {
		t.Errorf("a link leads to %s, want %s", got, tr.dir)
	}
	for _, name := range []string{"HERE", "here.example.com"} { // the same host, as others call it
		if _, err := a.Preview(t.Context(), incident.Target{Node: name, Cgroup: tr.dir}, double); err != nil {
			t.Errorf("on node %s: %v", name, err)
		}
	}
	narrow := setter(t, cgroup.Options{AllowedRoots: []string{tr.root + "/other"}})
	if _, err := narrow.Preview(t.Context(), incident.Target{Cgroup: tr.dir}, double); err == nil || !strings.Contains(err.Error(), "is not below an allowed root") {
		t.Errorf("outside the allowed roots: %v", err)
	}
}
