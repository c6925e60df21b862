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
	"sync"
	"time"
)

const (
	maxKallsyms = 64 << 20 // bytes; 122,000 functions and 71,000 variables take 9 MB
	// maxFunction and maxVariable: an address farther into a symbol is not in it.
	maxFunction = 1 << 20
	maxVariable = 4096
	retryAfter  = 5 * time.Minute // when the kernel hid its symbols
)

// KernelSymbols is /proc/kallsyms. Reading it takes 75 ms of CPU time, so it is read
// when it is first asked, and again only when kernel modules have come or gone. It is
// safe for concurrent use; share one.
type KernelSymbols struct {
	proc string

	mu      sync.Mutex
	names   kallsyms
	err     error
	read    time.Time
	modules string // /proc/modules, as it was then
}

// NewKernelSymbols reads nothing yet. proc is where the host's proc file system is.
func NewKernelSymbols(proc string) *KernelSymbols { return &KernelSymbols{proc: proc} }

// Read reads the symbols where that is to be done. An error says what to do.
func (k *KernelSymbols) Read() error {
	_, err := k.symbols()
	return err
}

// Variables names addresses inside the kernel's variables, such as "rtnl_mutex". They
// are listed only by a kernel built with CONFIG_KALLSYMS_ALL, as Debian's are. What
// has no name is not in the result.
func (k *KernelSymbols) Variables(addrs []uint64) map[uint64]string {
	out := map[uint64]string{}
	if len(addrs) == 0 {
		return out
	}
	names, _ := k.symbols()
	for _, a := range addrs {
		if name, _, offset := names.variables.find(a); name != "" && offset < maxVariable {
			out[a] = name
		}
	}
	return out
}

func (k *KernelSymbols) symbols() (kallsyms, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	modules := loadedModules(k.proc)
	if k.read.IsZero() || modules != k.modules || k.err != nil && time.Since(k.read) > retryAfter {
		k.names, k.err = readKallsyms(k.proc)
		k.read, k.modules = time.Now(), modules
	}
	return k.names, k.err
}

// loadedModules is the names and places of the kernel's modules, empty without any.
func loadedModules(proc string) string {
	b, err := os.ReadFile(filepath.Join(proc, "modules"))
	if err != nil {
		return ""
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		// "ext4 1048576 2 - Live 0xffffffffc0000000": the third is how often it is used now
		if f := strings.Fields(line); len(f) > 5 {
			out.WriteString(f[0] + f[5])
		}
	}
	return out.String()
}

// kallsyms is functions and variables.
type kallsyms struct{ functions, variables symbolTable }

// symbolTable is symbols, in the order of their addresses after sort. Their names are
// in one block, as "NAME" or "NAME\tMODULE".
type symbolTable struct {
	all   []listed
	names []byte
}

type listed struct {
	addr       uint64
	start, end uint32 // of its name
}

func readKallsyms(proc string) (kallsyms, error) {
	f, err := os.Open(filepath.Join(proc, "kallsyms"))
	if err != nil {
		return kallsyms{}, fmt.Errorf("reading the kernel's symbols: %w", err)
	}
	defer f.Close()
	return parseKallsyms(io.LimitReader(f, maxKallsyms))
}

// parseKallsyms reads lines of "ADDRESS TYPE NAME[\t[MODULE]]".
func parseKallsyms(r io.Reader) (k kallsyms, err error) {
	hidden := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, rest, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		if !ok || len(rest) < 3 {
			continue
		}
		name := rest[2:]
		var to *symbolTable
		switch {
		case strings.ContainsRune("tTwW", rune(rest[0])):
			to = &k.functions
		case strings.ContainsRune("bBdDrR", rune(rest[0])) && !bytes.HasPrefix(name, []byte("__start_")) && !bytes.HasPrefix(name, []byte("__stop_")):
			to = &k.variables
		default:
			continue
		}
		a, err := strconv.ParseUint(string(addr), 16, 64)
		if err != nil {
			return k, fmt.Errorf("reading the kernel's symbols: %w", err)
		}
		if a == 0 {
			hidden++
			continue
		}
		to.add(a, name)
	}
	if err := lines.Err(); err != nil {
		return k, fmt.Errorf("reading the kernel's symbols: %w", err)
	}
	switch {
	case len(k.functions.all) == 0 && hidden > 0:
		return k, errors.New("the kernel hides the addresses of its symbols; " +
			"give the agent CAP_SYSLOG, and set kernel.kptr_restrict to 0 or 1")
	case len(k.functions.all) == 0:
		return k, errors.New("the kernel lists no symbols (CONFIG_KALLSYMS)")
	}
	k.functions.sort()
	k.variables.sort()
	return k, nil
}

func (t *symbolTable) add(addr uint64, name []byte) {
	if t.all == nil { // room for all of a usual kernel: growing took as long as reading the lines
		t.all, t.names = make([]listed, 0, 1<<17), make([]byte, 0, 4<<20)
	}
	start := uint32(len(t.names))
	t.names = append(t.names, name...)
	t.all = append(t.all, listed{addr, start, uint32(len(t.names))})
}

// sort sorts. Of several names of one address the first listed counts.
func (t *symbolTable) sort() {
	slices.SortStableFunc(t.all, func(a, b listed) int { return cmp.Compare(a.addr, b.addr) })
	t.all = slices.CompactFunc(t.all, func(a, b listed) bool { return a.addr == b.addr })
}

// find gives the symbol at or before an address, its module if it is in one, and how
// far into it the address is.
func (t *symbolTable) find(addr uint64) (name, module string, offset uint64) {
	i, exact := slices.BinarySearchFunc(t.all, addr, func(s listed, addr uint64) int { return cmp.Compare(s.addr, addr) })
	if !exact {
		i--
	}
	if i < 0 {
		return "", "", 0
	}
	s := t.all[i]
	name, module, _ = strings.Cut(string(t.names[s.start:s.end]), "\t")
	return name, strings.Trim(module, "[]"), addr - s.addr
}

// frame names an address of code, or gives one without a name.
func (k *kallsyms) frame(addr uint64) Frame {
	name, module, offset := k.functions.find(addr)
	if name == "" || offset > maxFunction {
		return Frame{Module: "kernel", Offset: addr, Kind: Kernel}
	}
	return Frame{Func: printable(name), Module: printable(cmp.Or(module, "kernel")), Offset: offset, Kind: Kernel}
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
