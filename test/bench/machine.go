package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmend/kmend/test/server"
)

// header says when, on what and of what the figures are.
func (b *bench) header(ctx context.Context, w io.Writer) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("asking for the kernel: %w", err)
	}
	version, err := server.Run(ctx, b.binary, "version")
	if err != nil {
		return err
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return fmt.Errorf("asking for the memory: %w", err)
	}
	fmt.Fprintf(w, `# Benchmarks

Written by `+"`make bench`"+`; run it on your machine.

- date: %s
- machine: %d CPUs (%s), %.0f GiB memory
- kernel: %s %s
- %s
`, time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), cpuModel(),
		float64(si.Totalram)*float64(si.Unit)/(1<<30), unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		strings.TrimSpace(version))
	return nil
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
