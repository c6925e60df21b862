package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/docs"
)

// machine is a real systemd of the test's own: pid 1 of new namespaces, in cgroups
// of the machine's own hierarchies.
type machine struct {
	t      *testing.T
	pid    int
	groups string // their name
	opts   Options
}

// boot starts one, with the units of testdata/units.
func boot(t *testing.T, units ...string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs in `make test` as root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("needs Debian's package systemd: runs in `make test` on Debian")
	}
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, groups: fmt.Sprintf("kmend-systemd-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	m.opts = Options{Node: "here", CPUs: 8, Memory: 1 << 40, Socket: filepath.Join(t.TempDir(), "private")}
	var log bytes.Buffer
	c := exec.Command("sh", filepath.Join(dir, "outer.sh"), m.groups, dir, os.Args[0], m.opts.Socket)
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // unshare, which takes systemd along, and that all of its processes
		_ = c.Wait()
		m.removeGroups()
		if t.Failed() {
			t.Logf("systemd said:\n%s", log.String())
		}
	})
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = m.up(c.Process.Pid, units); err == nil {
			return m
		}
		if time.Now().After(until) {
			t.Fatalf("systemd does not answer: %v", err)
		}
	}
}

// up finds systemd below unshare, and starts the units.
func (m *machine) up(parent int, units []string) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return err
	}
	if m.pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return err
	}
	c, err := connect(m.t.Context(), m.opts)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, u := range units {
		done := make(chan string, 1)
		if _, err := c.StartUnitContext(m.t.Context(), u, "replace", done); err != nil {
			return err
		}
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			return errors.New("no end of starting " + u)
		}
	}
	return nil
}

func (m *machine) removeGroups() {
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := 0
		tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + m.groups)
		for _, top := range append(tops, "/sys/fs/cgroup/"+m.groups) {
			var dirs []string
			_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if os.Remove(dirs[i]) != nil {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(until) {
			m.t.Errorf("%d test groups stay", left)
			return
		}
	}
}

// quota is what the kernel holds a unit to, in µs of 100 ms.
func (m *machine) quota(unit string) string {
	m.t.Helper()
	for _, file := range []string{"/sys/fs/cgroup/cpu/" + m.groups + "/system.slice/" + unit + "/cpu.cfs_quota_us", "/sys/fs/cgroup/" + m.groups + "/system.slice/" + unit + "/cpu.max"} {
		if b, err := os.ReadFile(file); err == nil {
			return strings.Fields(string(b))[0]
		}
	}
	m.t.Fatalf("no quota of %s", unit)
	return ""
}

// memory is the kernel's limit of a unit, in bytes.
func (m *machine) memory(unit string) string {
	m.t.Helper()
	for _, file := range []string{"/sys/fs/cgroup/memory/" + m.groups + "/system.slice/" + unit + "/memory.limit_in_bytes", "/sys/fs/cgroup/" + m.groups + "/system.slice/" + unit + "/memory.max"} {
		if b, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	m.t.Fatalf("no memory limit of %s", unit)
	return ""
}

// sets changes a limit beside kmend.
func (m *machine) sets(unit string, quota uint64) {
	m.t.Helper()
	c, err := connect(m.t.Context(), m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetUnitPropertiesContext(m.t.Context(), unit, true, dbus.Property{Name: "CPUQuotaPerSecUSec", Value: godbus.MakeVariant(quota)}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) unit(name string) unit {
	m.t.Helper()
	c, err := connect(m.t.Context(), m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	u, err := c.read(m.t.Context(), name)
	if err != nil {
		m.t.Fatal(err)
	}
	return u
}

var worker = incident.Target{Node: "here", Unit: "worker.service"}

func TestSetPropertyOnARealSystemd(t *testing.T) {
	m, ctx := boot(t, "worker.service"), t.Context()
	a, err := NewSetProperty(m.opts)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Preview(ctx, worker, map[string]any{"property": "CPUQuota", "max": 4})
	if err != nil || p.Before != "0.3 CPU" || p.After != "0.6 CPU" || !strings.Contains(p.Summary, "of unit worker.service from 0.3 CPU to 0.6 CPU, until the next reboot") {
		t.Fatalf("%+v, %v", p, err)
	}
	if q := m.quota("worker.service"); q != "30000" {
		t.Fatalf("the preview made the quota %s", q)
	}
	step := incident.Step{Action: SetPropertyName, Preview: &p}
	done, err := a.Apply(ctx, worker, step)
	if err != nil || done.Result != "applied" || m.quota("worker.service") != "60000" {
		t.Fatalf("%+v, %v; the quota is %s", done, err, m.quota("worker.service"))
	}
	c, err := connect(ctx, m.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ReloadContext(ctx); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if q := m.quota("worker.service"); q != "60000" {
		t.Errorf("after daemon-reload the quota is %s", q)
	}
	if again, err := a.Apply(ctx, worker, step); err != nil || again.Result != "already applied" {
		t.Errorf("again: %+v, %v", again, err)
	}
	for range 2 { // the second time it is back already
		if back, err := a.Undo(ctx, worker, step, done); err != nil || back.Result != "undone" || m.quota("worker.service") != "30000" {
			t.Errorf("undo: %+v, %v; the quota is %s", back, err, m.quota("worker.service"))
		}
	}
	m.sets("worker.service", 450_000)
	if x, err := a.Apply(ctx, worker, step); err == nil || !strings.Contains(err.Error(), "is 0.45 CPU now and was 0.3 CPU in the plan; nothing was changed") {
		t.Errorf("somebody changed it: %+v, %v", x, err)
	}
	if x, err := a.Undo(ctx, worker, step, done); err == nil || !strings.Contains(err.Error(), "somebody changed it since, so it stays") {
		t.Errorf("somebody changed it: %+v, %v", x, err)
	}
	if q := m.quota("worker.service"); q != "45000" {
		t.Errorf("what somebody set is %s now", q)
	}
}

func TestSetPropertyOfMemoryForGood(t *testing.T) {
	m, ctx := boot(t, "worker.service"), t.Context()
	a, err := NewSetProperty(m.opts)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Preview(ctx, worker, map[string]any{"property": "MemoryMax", "max": "100M", "factor": 3.0, "persistent": true})
	if err != nil || p.Before != "64 MiB" || p.After != "100 MiB" || !strings.Contains(p.Summary, "for good") {
		t.Fatalf("%+v, %v", p, err)
	}
	// What the machine has is a bound, whatever the runbook's maximum is.
	small := m.opts
	small.Memory = 80 << 20
	if b, err := NewSetProperty(small); err != nil {
		t.Fatal(err)
	} else if p, err := b.Preview(ctx, worker, map[string]any{"property": "MemoryMax", "max": "1G"}); err != nil || p.After != "80 MiB" {
		t.Errorf("on a machine of 80 MiB: %+v, %v", p, err)
	}
	step := incident.Step{Action: SetPropertyName, Preview: &p}
	other := p // the name is another unit's by now
	other.Preconditions = map[string]string{"unit": "worker.service", "fragment": "/etc/systemd/system/worker.service", "MemoryMax": p.Preconditions["MemoryMax"]}
	if x, err := a.Apply(ctx, worker, incident.Step{Action: SetPropertyName, Preview: &other}); err == nil || !strings.Contains(err.Error(), "was worker.service of \"/etc/systemd/system/worker.service\" in the plan; nothing was changed") {
		t.Errorf("another unit of the name: %+v, %v", x, err)
	}
	if got := m.memory("worker.service"); got != "67108864" {
		t.Fatalf("the kernel's limit is %s before anything is done", got)
	}
	x, err := a.Apply(ctx, worker, step)
	if err != nil || x.Result != "applied" {
		t.Fatalf("%+v, %v", x, err)
	}
	if got := m.memory("worker.service"); got != "104857600" {
		t.Errorf("the kernel's limit is %s", got)
	}
	if x, err := a.Undo(ctx, incident.Target{Node: "there", Unit: "worker.service"}, step, x); err == nil || !strings.Contains(err.Error(), `is on node "there"`) {
		t.Errorf("undo on another node: %+v, %v", x, err)
	}
	if got := m.unit("worker.service").props["MemoryMax"]; got != uint64(100<<20) {
		t.Errorf("MemoryMax is %v", got)
	}
	kept, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/etc/systemd/system.control/worker.service.d/50-MemoryMax.conf", m.pid))
	if err != nil || !strings.Contains(string(kept), "MemoryMax=104857600") {
		t.Errorf("what outlasts a reboot is %q, %v", kept, err)
	}
}

func TestWhatSetPropertyRefuses(t *testing.T) {
	m := boot(t, "worker.service", "unlimited.service", "kmend-itself.service")
	main, _ := m.unit("worker.service").props["MainPID"].(uint32)
	group := "/sys/fs/cgroup/cpu/" + m.unit("worker.service").text("ControlGroup")
	cpu := func(most any) map[string]any { return map[string]any{"property": "CPUQuota", "max": most} }
	for _, tc := range []struct {
		target incident.Target
		with   map[string]any
		change func(*Options)
		want   string // empty: it is previewed
	}{
		{target: incident.Target{Cgroup: group}, with: cpu(4)},
		{target: incident.Target{PID: int(main)}, with: cpu(4)},
		{target: incident.Target{Unit: "other-name.service"}, with: cpu(4)},
		{target: incident.Target{Unit: "innocent.service"}, with: cpu(4), want: "kmend-itself.service is never acted on (kmend*)"},
		{target: incident.Target{Unit: "static.scope"}, with: cpu(4), want: "unit static.scope is"},
		{target: incident.Target{Cgroup: "/sys/fs/cgroup/cpu/elsewhere/worker.service"}, with: cpu(4), want: "is not that of unit worker.service"},
		{target: incident.Target{PID: 1 << 30}, with: cpu(4), want: "asking systemd for the unit of pid"},
		{target: incident.Target{Unit: "worker.service", Node: "there"}, with: cpu(4), want: "changed on their own node only"},
		{target: incident.Target{Unit: "worker.service", Pod: "web-1"}, with: cpu(4), want: "belongs to the kubelet"},
		{target: incident.Target{Node: "here"}, with: cpu(4), want: "names no unit, cgroup or process"},
		{target: incident.Target{Unit: "nobody.service"}, with: cpu(4), want: "unit nobody.service is not-found"},
		{target: incident.Target{Unit: "system.slice"}, with: cpu(4), want: "want the name of a service or scope"},
		{target: incident.Target{Unit: "../x.service"}, with: cpu(4), want: "want the name of a service or scope"},
		{target: incident.Target{Unit: "fragile.service"}, with: cpu(4), want: "is inactive; want one that is active"},
		{target: incident.Target{Unit: "unlimited.service"}, with: cpu(4), want: "has no CPUQuota: nothing to raise"},
		{target: incident.Target{Unit: "kmend-itself.service"}, with: cpu(4), want: "is never acted on (kmend*)"},
		{target: worker, with: cpu("300m"), want: "is 0.3 CPU already; with.max is 0.3 CPU"},
		{target: worker, with: cpu("2G"), want: `with.max: "2G" is not a number of CPUs`},
		{target: worker, with: cpu(nil), want: "with.max"},
		{target: worker, with: map[string]any{"property": "MemoryMax", "max": "500m"}, want: `"500m" is not a number of bytes`},
		{target: worker, with: map[string]any{"property": "MemoryMax", "max": "2000T"}, want: "at most 1024T"},
		{target: worker, with: map[string]any{"property": "TasksMax", "max": 1}, want: "want one of CPUQuota, MemoryHigh, MemoryMax"},
		{target: worker, with: map[string]any{"property": "CPUQuota", "max": 4, "factor": 11.0}, want: "with.factor"},
		{target: worker, with: map[string]any{"property": "MemoryMax", "max": "1T"}, change: func(o *Options) { o.Memory = 1 << 20 }, want: "all of the machine's memory"},
		{target: worker, with: cpu(4), change: func(o *Options) { o.Socket = "/nowhere/private" }, want: "systemd does not run this machine"},
	} {
		o := m.opts
		if tc.change != nil {
			tc.change(&o)
		}
		a, err := NewSetProperty(o)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Preview(t.Context(), tc.target, tc.with)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s with %v: %q, %v; want %q", tc.target, tc.with, p.Summary, err, tc.want)
		}
		if tc.want == "" && p.Apply["unit"] != "worker.service" {
			t.Errorf("%s: the unit is %s", tc.target, p.Apply["unit"])
		}
	}
	if main == 0 || m.quota("worker.service") != "30000" {
		t.Errorf("pid %d, quota %s", main, m.quota("worker.service"))
	}
}

func TestRestartUnitOnARealSystemd(t *testing.T) {
	m, ctx := boot(t, "worker.service", "fragile.service", "stubborn.service"), t.Context()
	a, err := NewRestartUnit(m.opts)
	if err != nil {
		t.Fatal(err)
	}
	before := m.unit("worker.service")
	p, err := a.Preview(ctx, worker, nil)
	if err != nil || !strings.Contains(p.Summary, fmt.Sprintf("restart unit worker.service (main process %v)", before.props["MainPID"])) {
		t.Fatalf("%+v, %v", p, err)
	}
	if now := m.unit("worker.service"); now.invocation() != before.invocation() {
		t.Fatal("the preview restarted it")
	}
	step := incident.Step{Action: RestartName, Preview: &p, Irreversible: true}
	done, err := a.Apply(ctx, worker, step)
	after := m.unit("worker.service")
	if err != nil || done.Result != "applied" || after.invocation() == before.invocation() || after.props["MainPID"] == before.props["MainPID"] || after.text("ActiveState") != "active" {
		t.Fatalf("%+v, %v; %s", done, err, after.text("ActiveState"))
	}
	again, err := a.Apply(ctx, worker, step)
	if now := m.unit("worker.service"); err != nil || again.Result != "already applied" || now.invocation() != after.invocation() {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := a.Undo(ctx, worker, step, done); err == nil || !strings.Contains(err.Error(), "cannot be undone") {
		t.Errorf("undo: %v", err)
	}
	if p, err := a.Preview(ctx, incident.Target{Unit: "stubborn.service"}, nil); err == nil || !strings.Contains(err.Error(), "unit stubborn.service cannot be restarted") {
		t.Errorf("a unit that refuses to be stopped by hand: %+v, %v", p, err)
	}
	fragile := incident.Target{Unit: "fragile.service"}
	if p, err = a.Preview(ctx, fragile, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // or nobody ever says that it failed
	defer cancel()
	x, err := a.Apply(ctx, fragile, incident.Step{Action: RestartName, Preview: &p})
	if err == nil || !strings.Contains(err.Error(), "unit fragile.service did not come up again") || x.Result != "applied" || x.After != "not running" {
		t.Errorf("a unit that does not come up: %+v, %v", x, err)
	}
	if !a.Irreversible() {
		t.Error("a restart says that it can be undone")
	}
}

// What the quick start has its reader type makes a unit that its quota throttles, and ends it.
func TestAsTheQuickStartSays(t *testing.T) {
	page, err := docs.Open("../../..", "docs/quick-start.md")
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t)
	types := func(begins string) {
		t.Helper()
		for line := range strings.Lines(page.Shown("sudo " + begins)) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "sudo "+begins); ok {
				command = begins + command
				if out, err := exec.CommandContext(t.Context(), "nsenter", "--all", "--target", strconv.Itoa(m.pid), "sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
				return
			}
		}
		t.Fatalf("docs/quick-start.md has no %s", begins)
	}
	types("systemd-run --unit=slow")
	if q := m.quota("slow.service"); q != "20000" {
		t.Errorf("its quota is %s", q)
	}
	types("systemctl stop slow")
	c, err := connect(t.Context(), m.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if u, err := c.read(t.Context(), "slow.service"); err == nil || !strings.Contains(err.Error(), "not-found") {
		t.Errorf("after the stop it is %v, %v", u, err)
	}
}
