package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is a loop device with an ext4 on it.
type disk struct {
	dev    string // /dev/loop0
	number string // 7:0
	dir    string // where it is mounted
	below  string // number of the device that its file is on
}

func (b *bed) disk(mb int) disk {
	image, d := b.file(), disk{dir: b.file()}
	f, err := os.Create(image)
	b.check(err)
	b.check(unix.Fallocate(int(f.Fd()), 0, 0, int64(mb)<<20))
	f.Close()
	d.dev, err = b.command("losetup", "-f", "--show", image)
	b.check(err)
	b.later(func() error { return exec.Command("losetup", "-d", d.dev).Run() })
	_, err = b.command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.dev)
	b.check(err)
	b.check(os.Mkdir(d.dir, 0o777))
	_, err = b.command("mount", d.dev, d.dir)
	b.check(err)
	b.later(func() error { return exec.Command("umount", d.dir).Run() })
	b.check(os.Chmod(d.dir, 0o777))
	n, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.dev), "dev"))
	b.check(err)
	d.number = strings.TrimSpace(string(n))
	d.below, err = deviceOf(image)
	b.check(err)
	return d
}

// deviceOf is MAJOR:MINOR of the whole disk that a file is on.
func deviceOf(path string) (string, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return "", err
	}
	n := fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev))
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + n)
	if err != nil {
		return "", fmt.Errorf("%s is on no block device: %w", path, err)
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
		return strings.TrimSpace(string(b)), err
	}
	return n, nil
}

func dropCache(f *os.File) error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
