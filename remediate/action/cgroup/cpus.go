package cgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// cpusOnline counts the CPUs in a list of the kernel's form: "0-3,5".
func cpusOnline(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("counting the CPUs online: %w", err)
	}
	n, err := countCPUs(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("counting the CPUs online in %s: %w", path, err)
	}
	return n, nil
}

func countCPUs(list string) (n int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || b < a {
			return 0, fmt.Errorf("%q is not a list of CPUs", list)
		}
		n += b - a + 1
	}
	return n, nil
}
