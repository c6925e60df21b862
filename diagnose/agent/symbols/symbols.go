// Package symbols names stacks: what the kernel recorded of a thread
// (bpf/stack) becomes the functions that people know, such as
// "sqlite3_step (libsqlite3.so.0.8.6)".
//
// It is used by diagnose/agent after a window, for whatever probe recorded
// stacks. User code is walked by its .eh_frame or, for Go, by its pc tables, and
// else by frame pointers (on arm64 by those only); functions are named by ELF
// symbols, by .gopclntab and by perf map files. Everything it reads of a target is
// hostile: sizes, counts, depths and time are bounded and nothing panics.
package symbols

import (
	"fmt"
	"sync"
	"time"
)

// Kind is what sort of code a frame is in.
type Kind string

const (
	Native  Kind = "native"  // ELF symbols: C, C++, Rust, ...
	Go      Kind = "go"      // .gopclntab
	JIT     Kind = "jit"     // a perf map file
	Kernel  Kind = "kernel"  // /proc/kallsyms
	Unknown Kind = "unknown" // no name was found
)

// Frame is one function of a stack.
type Frame struct {
	Func string // demangled, printable, at most 256 bytes; empty if no name was found
	// Module is the base name of the file that holds the code, "[vdso]", "[jit]",
	// "kernel", the kernel module's name, or "[unknown]".
	Module string
	// Offset is from the beginning of Func; without one it is the address as the
	// module's file has it, or the address itself.
	Offset uint64
	Kind   Kind
}

// String is a frame as perf shows it, without the offset: "sqlite3_step (libsqlite3.so.0.8.6)".
func (f Frame) String() string {
	if f.Func == "" {
		return fmt.Sprintf("0x%x (%s)", f.Offset, f.Module)
	}
	return fmt.Sprintf("%s (%s)", f.Func, f.Module)
}

// Stack is a named stack, both parts innermost first.
type Stack struct {
	PID, TID int
	User     []Frame
	Kernel   []Frame // without the frames of the tracepoint that recorded it
	// Whole reports whether User goes down to the thread's first function. It does
	// not where the recorded memory ends, or code cannot be walked.
	Whole bool
}

// Strings are the kernel's frames and then the user's, innermost first, at most max.
func (s Stack) Strings(max int) []string {
	out := []string{}
	for _, part := range [][]Frame{s.Kernel, s.User} {
		for _, f := range part {
			if len(out) < max {
				out = append(out, f.String())
			}
		}
	}
	return out
}

// Result is what became of a set of stacks.
type Result struct {
	Stacks []Stack  // Stacks[i] is of the i-th stack given
	Notes  []string // what could not be read or was cut, for people; each once, at most maxNotes
}

// Options bounds what naming may take.
type Options struct {
	Proc string // where the host's proc file system is
	// MaxTime is how long one call of Resolve may take. What is not named by then
	// stays an address, with a note.
	MaxTime time.Duration
	// MaxFiles bounds the mapped files that are kept open and parsed between calls.
	MaxFiles int
	// MaxPerfMap bounds what is read of one perf map file, in bytes.
	MaxPerfMap int64
	// Kernel is shared between Symbolizers. nil: one for itself.
	Kernel *KernelSymbols
}

// DefaultOptions are 1 s, 64 files and 128 MB.
func DefaultOptions() Options {
	return Options{Proc: "/proc", MaxTime: time.Second, MaxFiles: 64, MaxPerfMap: 128 << 20}
}

func (o Options) validate() error {
	switch {
	case o.Proc == "":
		return fmt.Errorf("symbols.Options.Proc is empty; name the proc file system, such as /proc")
	case o.MaxTime <= 0 || o.MaxTime > time.Minute:
		return fmt.Errorf("symbols.Options.MaxTime is %v, allowed are more than 0 up to 1m", o.MaxTime)
	case o.MaxFiles < 1 || o.MaxFiles > 4096:
		return fmt.Errorf("symbols.Options.MaxFiles is %d, allowed are 1 to 4096", o.MaxFiles)
	case o.MaxPerfMap < 0:
		return fmt.Errorf("symbols.Options.MaxPerfMap is %d, it must not be negative", o.MaxPerfMap)
	}
	return nil
}

// Symbolizer names stacks and keeps what it parsed of files. It is safe for
// concurrent use; calls run one after the other.
type Symbolizer struct {
	o Options

	mu    sync.Mutex
	calls uint64
	notes []string // of the call under way
	cache map[fileKey]*file
}

// New makes a Symbolizer. It reads nothing yet.
func New(o Options) (*Symbolizer, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Kernel == nil {
		o.Kernel = NewKernelSymbols(o.Proc)
	}
	return &Symbolizer{o: o, cache: map[fileKey]*file{}}, nil
}
