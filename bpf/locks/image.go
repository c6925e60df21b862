package locks

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// imageMax bounds the kernel's image where /proc/kallsyms does not say its end:
// modules come after it, 1 GB behind on x86_64 and 128 MB on arm64.
const imageMax = 128 << 20

// image is where the kernel's own variables are, from /proc/kallsyms. Both are 0
// when addresses are hidden: then no lock is known by its address.
func image() (start, end uint64, err error) {
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
	if start != 0 && end <= start {
		end = start + imageMax
	}
	return start, end, nil
}
