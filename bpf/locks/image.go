package locks

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// imageMax is the size of the kernel's image where /proc/iomem does not say it, which
// takes CAP_SYS_ADMIN. What else may be in so much is modules, and on arm64 vmalloc.
const imageMax = 128 << 20

// tellImage tells the program where the kernel's own variables are. Where the kernel
// hides its addresses that is nowhere.
func (p *Probe) tellImage() error {
	start, err := read("/proc/kallsyms", imageStart)
	if err != nil {
		return err
	}
	size, err := read("/proc/iomem", imageSize)
	if err != nil {
		return err
	}
	if size == 0 && start != 0 {
		size = imageMax
	}
	if err := errors.Join(p.objs.ImageStart.Set(start), p.objs.ImageEnd.Set(start+size)); err != nil {
		return fmt.Errorf("telling the probe where the kernel is: %w", err)
	}
	return nil
}

// read gives 0 where there is no such file, or this process may not read it.
func read(path string, parse func(io.Reader) (uint64, error)) (uint64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return 0, nil
	}
	var n uint64
	if err == nil {
		defer f.Close()
		n, err = parse(f)
	}
	if err != nil {
		return 0, fmt.Errorf("finding the kernel's variables: reading %s: %w", path, err)
	}
	return n, nil
}

// imageStart is the address of _stext in /proc/kallsyms. It is one of the first lines;
// _end would be behind 100,000, which take the kernel 60 ms to write.
func imageStart(r io.Reader) (uint64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[2] == "_stext" {
			return strconv.ParseUint(f[0], 16, 64)
		}
	}
	return 0, lines.Err()
}

// imageSize is from the first byte of the kernel's code, which is at _stext, to its
// last of data in /proc/iomem: "  01000000-02209987 : Kernel code". 0 where the
// addresses are hidden, which are 0 then.
func imageSize(r io.Reader) (uint64, error) {
	var first, end uint64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var start, last uint64
		var part string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x : Kernel %s", &start, &last, &part); n != 3 {
			continue
		}
		if part == "code" {
			first = start
		}
		end = max(end, last)
	}
	if first == 0 || end <= first {
		return 0, lines.Err()
	}
	return end + 1 - first, lines.Err()
}
