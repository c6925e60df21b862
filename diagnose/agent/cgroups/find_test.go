package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	uid = "8f1c6a52-35c1-4b1e-8c5d-2f4b6c7d8e90"
	_id = "8f1c6a52_35c1_4b1e_8c5d_2f4b6c7d8e90"
	cid = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184"
)

// Layouts of kubelets and runtimes, with and without a cgroupRoot.
func TestPod(t *testing.T) {
	for _, c := range []struct{ name, mounts, pod, container string }{
		{"v1 cgroupfs guaranteed", v1, "cpu,cpuacct/kubepods/pod" + uid, cid},
		{"v1 cgroupfs burstable", v1, "cpu,cpuacct/kubepods/burstable/pod" + uid, cid},
		{"v1 cgroupfs cgroupRoot", v1, "cpu,cpuacct/kubelab/kubepods/besteffort/pod" + uid, cid},
		{"v1 systemd containerd", v1, "cpu,cpuacct/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + _id + ".slice", "cri-containerd-" + cid + ".scope"},
		{"v2 cgroupfs", v2, "unified/kubepods/burstable/pod" + uid, cid},
		{"v2 systemd guaranteed containerd", v2, "unified/kubepods.slice/kubepods-pod" + _id + ".slice", "cri-containerd-" + cid + ".scope"},
		{"v2 systemd CRI-O", v2, "unified/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + _id + ".slice", "crio-" + cid + ".scope"},
		{"v2 systemd docker", v2, "unified/kubepods.slice/kubepods-pod" + _id + ".slice", "docker-" + cid + ".scope"},
		{"v2 systemd cgroupRoot", v2, "unified/kubelab.slice/kubelab-kubepods.slice/kubelab-kubepods-burstable.slice/kubelab-kubepods-burstable-pod" + _id + ".slice", "cri-containerd-" + cid + ".scope"},
		{"v2 kind: a node in a container", v2, "unified/system.slice/docker-aa.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + _id + ".slice", "cri-containerd-" + cid + ".scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n := newFake(t, c.mounts)
			pod := f.dir(c.pod)
			f.dir(filepath.Join(c.pod, "crio-conmon-"+cid+".scope")) // sorts before and is not the container
			container := f.dir(filepath.Join(c.pod, c.container))
			f.dir(filepath.Join(filepath.Dir(c.pod), "pod11111111-35c1-4b1e-8c5d-2f4b6c7d8e90/other"))
			f.dir("unified/elsewhere/pod" + uid) // not the kubelet's

			if got, err := n.Pod(uid, ""); got != pod || err != nil {
				t.Errorf("pod is %q, %v; want %q", got, err, pod)
			}
			for _, id := range []string{cid, "containerd://" + cid} {
				if got, err := n.Pod(uid, id); got != container || err != nil {
					t.Errorf("container is %q, %v; want %q", got, err, container)
				}
			}
			if _, err := n.Pod(uid, strings.Repeat("c", 64)); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "it has ended") {
				t.Errorf("a container that is not there: %v", err)
			}
			if _, err := n.Pod("00000000-35c1-4b1e-8c5d-2f4b6c7d8e90", ""); !errors.Is(err, ErrNotFound) {
				t.Errorf("a pod that is not there: %v", err)
			}
			for _, bad := range []string{"", "..", "a/b", "*"} {
				if _, err := n.Pod(bad, ""); err == nil || errors.Is(err, ErrNotFound) {
					t.Errorf("pod UID %q: %v", bad, err)
				}
			}
		})
	}
}

func TestUnit(t *testing.T) {
	f, n := newFake(t, v1)
	want := f.dir("systemd/system.slice/nginx.service")
	f.dir("systemd/user.slice/nginx.service") // system.slice comes first
	instance := f.dir("systemd/system.slice/system-getty.slice/getty@tty1.service")
	f.dir("cpu,cpuacct/system.slice/nginx.service")
	for unit, dir := range map[string]string{"nginx": want, "nginx.service": want, "getty@tty1.service": instance} {
		if got, err := n.Unit(unit); got != dir || err != nil {
			t.Errorf("%s is %q, %v; want %q", unit, got, err, dir)
		}
	}
	f.dir("systemd/a.slice/twice.service")
	f.dir("systemd/b.slice/twice.service")
	if _, err := n.Unit("twice"); err == nil || !strings.Contains(err.Error(), "is there 2 times") {
		t.Errorf("a unit that is there twice: %v", err)
	}
	if _, err := n.Unit("redis"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a unit that is not there: %v", err)
	}
	for _, bad := range []string{"", "..", "a/b", "a b", "\x00"} {
		if _, err := n.Unit(bad); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("unit %q: %v", bad, err)
		}
	}
}

func TestDir(t *testing.T) {
	f, n := newFake(t, v1+v2)
	want := f.dir("cpu,cpuacct/app")
	if err := os.Symlink(filepath.Join(f.root, "cpu,cpuacct"), filepath.Join(f.root, "cpu")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(want, "out")); err != nil {
		t.Fatal(err)
	}
	f.file("cpu,cpuacct/app/cpu.stat", "")
	for _, path := range []string{want, want + "/", filepath.Join(f.root, "cpu/app")} {
		if got, err := n.Dir(path); got != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
	for path, text := range map[string]string{
		want + "/../../../etc":        "clean absolute path",
		"cpu/app":                     "clean absolute path",
		"":                            "clean absolute path",
		want + "//x":                  "clean absolute path",
		"/etc":                        "must be a directory below",
		"/":                           "must be a directory below",
		want + "/out":                 "must be a directory below",
		f.root + "/cpu,cpuacct-other": "does not exist",
		want + "/cpu.stat":            "not a directory",
		want + "/gone":                "does not exist",
		want + "\x00":                 "clean absolute path",
	} {
		if got, err := n.Dir(path); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %q, %v; want an error with %q", path, got, err, text)
		}
	}
}
