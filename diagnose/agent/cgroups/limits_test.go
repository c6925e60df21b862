package cgroups

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestBearing(t *testing.T) {
	f, n := newFake(t, v1)
	f.process(7, "4:memory:/jobs/a/deep\n2:cpu,cpuacct:/batch\n0::/x\n")
	f.process(8, "4:memory:/\n2:cpu,cpuacct:/batch\n0::/x\n")
	f.file("cpu,cpuacct/batch/cgroup.procs", "7\n8\n")
	f.dir("memory/jobs/b")
	mem := func(p string) string { return filepath.Join(f.root, "memory", p) }
	for _, c := range []struct {
		dirs []string
		pids []int
		want []string
	}{
		{nil, []int{7}, []string{"jobs/a/deep", "jobs/a", "jobs"}},
		{[]string{filepath.Join(f.root, "cpu,cpuacct/batch")}, nil, []string{"jobs/a/deep", "jobs/a", "jobs"}},
		{[]string{mem("jobs/b")}, nil, []string{"jobs/b", "jobs"}},
		{nil, []int{8}, nil},
	} {
		var want []string
		for _, p := range c.want {
			want = append(want, mem(p))
		}
		if _, got, err := n.Bearing("memory", c.dirs, c.pids); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v %v: got %q, %v; want %q", c.dirs, c.pids, got, err, want)
		}
	}
}

func TestMemory(t *testing.T) {
	f, _ := newFake(t, v1)
	f.file("v1/memory.usage_in_bytes", "1048576\n")
	f.file("v1/memory.limit_in_bytes", "2097152\n")
	f.file("v1/memory.failcnt", "17\n")
	f.file("v1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
	f.file("v1/memory.stat", "workingset_refault_file 1\ntotal_workingset_refault_file 40\ntotal_workingset_refault_anon 2\n")
	f.file("free/memory.usage_in_bytes", "5\n")
	f.file("free/memory.limit_in_bytes", "9223372036854771712\n")
	f.file("v2/memory.current", "1048576\n")
	f.file("v2/memory.max", "max\n")
	f.file("v2/memory.high", "524288\n")
	f.file("v2/memory.events", "low 0\nhigh 9\nmax 0\noom 0\noom_kill 0\n")
	f.file("v2/memory.stat", "workingset_refault_anon 1\nworkingset_refault_file 2\npgscan 30\npgsteal 20\n")
	f.file("v2/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
	for _, c := range []struct {
		dir  string
		v2   bool
		want Memory
	}{
		{"v1", false, Memory{Usage: 1 << 20, Limit: 2 << 20, HitLimit: 17, OOMKills: 2, Refaults: 42}},
		{"free", false, Memory{Usage: 5}},
		{"v2", true, Memory{Usage: 1 << 20, High: 1 << 19, HitHigh: 9, Refaults: 3, Scanned: 30, Stolen: 20, Some: 1500 * time.Microsecond, Full: time.Millisecond}},
	} {
		m := Mount{Dir: f.root, Root: "/", V2: c.v2}
		dir := filepath.Join(f.root, c.dir)
		c.want.Dir, c.want.Path = dir, "/"+c.dir
		if got, ok := m.Memory(dir); !ok || got != c.want {
			t.Errorf("got %+v, %v; want %+v", got, ok, c.want)
		}
	}
	if _, ok := (Mount{Dir: f.root, V2: true}).Memory(f.root); ok {
		t.Error("a group without the controller has memory")
	}
}

func TestIO(t *testing.T) {
	f, _ := newFake(t, v1)
	f.file("v1/blkio.throttle.write_bps_device", "7:0 1048576\n")
	f.file("v1/blkio.throttle.write_iops_device", "7:0 20\n")
	f.file("v1/blkio.throttle.io_service_bytes", "7:0 Read 1\n7:0 Write 8192\n7:0 Total 8193\nTotal 8193\n")
	f.file("v1/blkio.throttle.io_serviced", "7:0 Read 1\n7:0 Write 2\n")
	f.file("v2/io.max", "7:0 rbps=max wbps=1048576 riops=max wiops=20\n8:0 rbps=max wbps=max riops=max wiops=max\n")
	f.file("v2/io.stat", "7:0 rbytes=1 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:0\n")
	f.dir("none")
	for _, dir := range []string{"v1", "v2"} {
		m := Mount{Dir: f.root, Root: "/", V2: dir == "v2"}
		want := IO{Dir: filepath.Join(f.root, dir), Path: "/" + dir, Device: "7:0", Limit: [4]uint64{0, 1 << 20, 0, 20}, Used: [4]uint64{1, 8192, 1, 2}}
		if got := m.IO(want.Dir); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, want %+v", dir, got, want)
		}
		if got := m.IO(filepath.Join(f.root, "none")); len(got) != 0 {
			t.Errorf("no limits: %+v", got)
		}
	}
}
