package symbols

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// perfMap names addresses by the process's perf map file, which a JIT compiler
// writes: lines of "START SIZE NAME", hexadecimal, in the order of compilation. Code
// is replaced, so the last line that covers an address counts; for the same reason
// the end of a file that is too large is read, not its beginning. Source:
// tools/perf/Documentation/jit-interface.txt.
//
// The file is the target's: it is read as a stream, and only lines for the wanted
// addresses are kept. A note says what was not read.
func (p *process) perfMap(ctx context.Context, wanted []uint64, most int64) (found map[uint64]Frame, note string) {
	path := fmt.Sprintf("/tmp/perf-%d.map", p.inner)
	o, st, err := p.inRoot(path)
	if err != nil {
		return nil, "" // most processes have none
	}
	defer o.Close()
	if st.Uid != p.uid && st.Uid != 0 {
		return nil, fmt.Sprintf("%s of process %d is another user's and was not read", path, p.pid)
	}
	from := max(0, o.key.size-most)
	found, err = scanPerfMap(ctx, io.NewSectionReader(o, from, o.key.size-from), from > 0, wanted)
	switch {
	case err != nil:
		note = fmt.Sprintf("%s of process %d was not read to its end: %v", path, p.pid, err)
	case from > 0:
		note = fmt.Sprintf("%s of process %d has %d MB: only the last %d were read", path, p.pid, o.key.size>>20, most>>20)
	}
	return found, note
}

// scanPerfMap reads lines; the first is not whole when cut.
func scanPerfMap(ctx context.Context, r io.Reader, cut bool, wanted []uint64) (map[uint64]Frame, error) {
	wanted = slices.Sorted(slices.Values(wanted))
	found := map[uint64]Frame{}
	lines := bufio.NewReaderSize(r, 64<<10)
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return found, errors.New("there was no time")
		}
		line, err := lines.ReadSlice('\n')
		whole := err == nil || errors.Is(err, io.EOF)
		if whole && (n > 0 || !cut) {
			nameJIT(line, wanted, found)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // skip the rest; a name is never that long
			if ctx.Err() != nil {
				return found, errors.New("there was no time")
			}
			_, err = lines.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
}

func nameJIT(line []byte, wanted []uint64, found map[uint64]Frame) {
	start, line, ok := hex(line)
	size, line, ok2 := hex(line)
	if !ok || !ok2 || start > wanted[len(wanted)-1] {
		return
	}
	i, _ := slices.BinarySearch(wanted, start)
	for ; i < len(wanted) && wanted[i]-start < size; i++ {
		name := string(bytes.TrimSpace(line[:min(len(line), maxMangled)]))
		found[wanted[i]] = Frame{Func: readable(name), Module: "[jit]", Offset: wanted[i] - start, Kind: JIT}
	}
}

// hex reads a number and the blank behind it.
func hex(b []byte) (v uint64, rest []byte, ok bool) {
	if bytes.HasPrefix(b, []byte("0x")) {
		b = b[2:]
	}
	for i, c := range b {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | uint64(c|0x20-'a'+10)
		case c == ' ':
			return v, b[i+1:], i > 0 && i <= 16
		default:
			return 0, nil, false
		}
	}
	return 0, nil, false
}
