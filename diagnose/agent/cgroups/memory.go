package cgroups

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Memory is what a group of the memory controller says about itself. Counts are
// since it was made, of it and all below it; what a kernel does not tell is 0.
type Memory struct {
	Dir, Path   string
	Usage       uint64 // bytes
	Limit, High uint64 // bytes; 0: none. High, of v2 only, slows down and does not kill
	// HitHigh and HitLimit count how often more was wanted, OOMKills the processes
	// that were killed for it.
	HitHigh, HitLimit, OOMKills uint64
	Refaults                    uint64        // pages that were read anew soon after reclaim took them
	Scanned, Stolen             uint64        // pages that reclaim looked at and took; v2 only
	Some, Full                  time.Duration // in which some or all of its threads waited for memory; v2 with PSI only
}

// Memory reads one group; ok is false when it is gone or has no memory controller.
func (m Mount) Memory(dir string) (s Memory, ok bool) {
	s.Dir = dir
	s.Path, _ = m.Path(dir)
	if !m.V2 {
		s.Usage, ok = number(dir, "memory.usage_in_bytes")
		s.Limit, _ = number(dir, "memory.limit_in_bytes")
		s.HitLimit, _ = number(dir, "memory.failcnt")
		s.OOMKills = keys(dir, "memory.oom_control")["oom_kill"]
		stat := keys(dir, "memory.stat")
		s.Refaults = stat["total_workingset_refault_file"] + stat["total_workingset_refault_anon"]
		if s.Limit >= 1<<62 { // PAGE_COUNTER_MAX
			s.Limit = 0
		}
		return s, ok
	}
	s.Usage, ok = number(dir, "memory.current")
	s.Limit, _ = number(dir, "memory.max")
	s.High, _ = number(dir, "memory.high")
	events, stat := keys(dir, "memory.events"), keys(dir, "memory.stat")
	s.HitHigh, s.HitLimit, s.OOMKills = events["high"], events["max"], events["oom_kill"]
	s.Refaults = stat["workingset_refault_file"] + stat["workingset_refault_anon"]
	s.Scanned, s.Stolen = stat["pgscan"], stat["pgsteal"]
	s.Some, s.Full = pressure(dir)
	return s, ok
}

// number reads a file of one number; "max" is 0.
func number(dir, file string) (n uint64, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil || strings.TrimSpace(string(b)) == "max"
}

// keys reads a file of lines "key number".
func keys(dir, file string) map[string]uint64 {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	out := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out
}

// pressure reads the totals of memory.pressure, Documentation/accounting/psi.rst.
func pressure(dir string) (some, full time.Duration) {
	b, err := os.ReadFile(filepath.Join(dir, "memory.pressure"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		kind, _, _ := strings.Cut(line, " ")
		_, total, _ := strings.Cut(strings.TrimSpace(line), "total=")
		us, err := strconv.ParseInt(total, 10, 64)
		switch {
		case err != nil:
		case kind == "some":
			some = time.Duration(us) * time.Microsecond
		case kind == "full":
			full = time.Duration(us) * time.Microsecond
		}
	}
	return some, full
}
