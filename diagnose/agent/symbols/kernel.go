package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxKallsyms = 64 << 20 // bytes; 122,000 symbols take 6 MB
	// maxKernelOffset: an address farther from every symbol is in none.
	maxKernelOffset = 1 << 20
)

// kernel is /proc/kallsyms, code only: addresses in order and, in one block,
// names as "NAME" or "NAME\tMODULE".
type kernel struct {
	addrs []uint64
	ends  []uint32 // of each name in names
	names []byte
}

func readKernel(proc string) (*kernel, error) {
	f, err := os.Open(filepath.Join(proc, "kallsyms"))
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's symbols: %w", err)
	}
	defer f.Close()
	return parseKallsyms(io.LimitReader(f, maxKallsyms))
}

// parseKallsyms reads lines of "ADDRESS TYPE NAME[\t[MODULE]]".
func parseKallsyms(r io.Reader) (*kernel, error) {
	type symbol struct {
		addr       uint64
		start, end uint32
	}
	var all []symbol
	var names []byte
	hidden := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, rest, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		if !ok || len(rest) < 3 || !strings.ContainsRune("tTwW", rune(rest[0])) {
			continue
		}
		a, err := strconv.ParseUint(string(addr), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's symbols: %w", err)
		}
		if a == 0 {
			hidden++
			continue
		}
		start := len(names)
		names = append(names, rest[2:]...)
		all = append(all, symbol{a, uint32(start), uint32(len(names))})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the kernel's symbols: %w", err)
	}
	switch {
	case len(all) == 0 && hidden > 0:
		return nil, errors.New("the kernel hides the addresses of its symbols (kernel.kptr_restrict); " +
			"set kernel.kptr_restrict to 0, or to 1 and give the agent CAP_SYSLOG")
	case len(all) == 0:
		return nil, errors.New("the kernel lists no symbols (CONFIG_KALLSYMS)")
	}
	// Of several names of one address the first listed counts.
	slices.SortStableFunc(all, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	all = slices.CompactFunc(all, func(a, b symbol) bool { return a.addr == b.addr })
	k := &kernel{addrs: make([]uint64, len(all)), ends: make([]uint32, len(all)), names: make([]byte, 0, len(names))}
	for i, s := range all {
		k.names = append(k.names, names[s.start:s.end]...)
		k.addrs[i], k.ends[i] = s.addr, uint32(len(k.names))
	}
	return k, nil
}

func (k *kernel) frame(addr uint64) (Frame, bool) {
	i, exact := slices.BinarySearch(k.addrs, addr)
	if !exact {
		i--
	}
	if i < 0 || addr-k.addrs[i] > maxKernelOffset {
		return Frame{Module: "kernel", Offset: addr, Kind: Kernel}, false
	}
	start := uint32(0)
	if i > 0 {
		start = k.ends[i-1]
	}
	name, module, ok := strings.Cut(string(k.names[start:k.ends[i]]), "\t")
	if ok {
		module = strings.Trim(module, "[]")
	} else {
		module = "kernel"
	}
	return Frame{Func: printable(name), Module: printable(module), Offset: addr - k.addrs[i], Kind: Kernel}, true
}

// ours are the beginnings of the functions between a tracepoint and what it calls.
var ours = []string{"bpf_", "__bpf_", "___bpf_", "__traceiter_", "trace_", "perf_trace_", "tracing_"}

// trimmed drops the frames of the tracepoint that recorded the stack.
func trimmed(frames []Frame) []Frame {
	last := -1
	for i, f := range frames {
		if strings.HasPrefix(f.Func, "bpf_trace_run") || strings.HasPrefix(f.Func, "__traceiter_") || strings.HasPrefix(f.Func, "bpf_prog_") {
			last = i
		}
	}
	for i := last + 1; i < len(frames) && last >= 0; i++ {
		if !slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(frames[i].Func, p) }) {
			return frames[i:]
		}
	}
	return frames[last+1:]
}
