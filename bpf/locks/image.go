package locks

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// imageMax bounds the kernel's image where /proc/kallsyms does not say its end:
// modules come after it, 1 GB behind on x86_64 and 128 MB on arm64.
const imageMax = 128 << 20

// readImage is for who has no Options.Image.
func readImage() (start, end uint64, err error) {
	f, err := os.Open("/proc/kallsyms")
	if os.IsNotExist(err) {
		return 0, 0, nil // a kernel without CONFIG_KALLSYMS
	}
	if err != nil {
		return 0, 0, fmt.Errorf("finding the kernel's variables: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		hex, rest, _ := strings.Cut(lines.Text(), " ")
		_, name, _ := strings.Cut(rest, " ")
		if name != "_text" && name != "_stext" && name != "_end" {
			if strings.Contains(name, "\t[") { // modules: the image is behind us
				break
			}
			continue
		}
		addr, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading /proc/kallsyms: %w", err)
		}
		if name == "_end" {
			end = addr
		} else if start == 0 {
			start = addr
		}
	}
	return start, end, nil
}

// tellImage tells the program where the kernel's own variables are.
func (p *Probe) tellImage(image func() (start, end uint64)) (err error) {
	var start, end uint64
	if image != nil {
		start, end = image()
	} else if start, end, err = readImage(); err != nil {
		return err
	}
	if start != 0 && end <= start {
		end = start + imageMax
	}
	if err := errors.Join(p.objs.ImageStart.Set(start), p.objs.ImageEnd.Set(end)); err != nil {
		return fmt.Errorf("telling the probe where the kernel is: %w", err)
	}
	return nil
}
