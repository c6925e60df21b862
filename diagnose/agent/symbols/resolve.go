package symbols

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/kmend/kmend/bpf/stack"
)

const (
	maxNotes = 16
	maxNames = 16384 // of one file that are kept
)

// Resolve walks and names stacks, each process's in one go. It never fails: what
// cannot be named is an address, and a note says why. When ctx ends the rest stays
// unnamed.
func (s *Symbolizer) Resolve(ctx context.Context, stacks []stack.Stack) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.o.MaxTime)
	defer cancel()
	s.calls++
	s.notes = nil
	r := Result{Stacks: make([]Stack, len(stacks))}
	byPID := map[int][]int{}
	for i, st := range stacks {
		r.Stacks[i] = Stack{PID: st.PID, TID: st.TID}
		if st.IP != 0 {
			byPID[st.PID] = append(byPID[st.PID], i)
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(byPID)) {
		if ctx.Err() != nil {
			s.note("not every stack was named: it took longer than %v", s.o.MaxTime)
			break
		}
		s.resolveProcess(ctx, pid, byPID[pid], stacks, r.Stacks)
	}
	for i, st := range stacks { // last: it may have to read the kernel's symbols
		r.Stacks[i].Kernel = s.kernelFrames(st.Kernel)
	}
	s.letGo()
	r.Notes = s.notes
	return r
}

// note keeps one sentence for people, each once.
func (s *Symbolizer) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if len(s.notes) < maxNotes && !slices.Contains(s.notes, n) {
		s.notes = append(s.notes, n)
	}
}

// process reads what pid maps.
func (s *Symbolizer) process(pid int) *process {
	p, err := readProcess(s.o.Proc, pid)
	switch {
	case err == nil:
		return p
	case errors.Is(err, fs.ErrNotExist):
		s.note("process %d has ended: its functions have no names", pid)
	default:
		s.note("process %d cannot be read: %v", pid, err)
	}
	return nil
}

func (s *Symbolizer) resolveProcess(ctx context.Context, pid int, which []int, in []stack.Stack, out []Stack) {
	p := s.process(pid)
	if p == nil {
		for _, i := range which {
			out[i].User = []Frame{{Module: "[unknown]", Offset: in[i].IP, Kind: Unknown}}
		}
		return
	}
	p.opener = func(m mapping) *file { return s.file(p, m) }
	walked := make([][]step, len(which))
	for n, i := range which {
		if ctx.Err() != nil {
			break
		}
		walked[n], out[i].Whole = p.walk(in[i])
	}
	named := s.names(ctx, p, walked)
	for n, i := range which {
		for _, st := range walked[n] {
			out[i].User = append(out[i].User, named(st))
		}
		if len(walked[n]) == 0 {
			out[i].User = []Frame{{Module: "[unknown]", Offset: in[i].IP, Kind: Unknown}}
		}
	}
}

// names looks every address up, each once, and gives what names a step.
func (s *Symbolizer) names(ctx context.Context, p *process, walked [][]step) func(step) Frame {
	byFile, jit := map[*file]map[uint64]bool{}, map[uint64]bool{}
	for _, steps := range walked {
		for _, st := range steps {
			if st.f == nil {
				jit[st.addr] = true
				continue
			}
			if byFile[st.f] == nil {
				byFile[st.f] = map[uint64]bool{}
			}
			byFile[st.f][st.at] = true
		}
	}
	for f, addrs := range byFile {
		maps.DeleteFunc(addrs, func(a uint64, _ bool) bool { _, known := f.names[a]; return known })
		if len(addrs) == 0 {
			continue
		}
		if len(f.names) > maxNames {
			clear(f.names)
		}
		s.debugFile(p, f)
		wanted := slices.Sorted(maps.Keys(addrs))
		found := f.lookup(ctx, wanted)
		if ctx.Err() != nil {
			s.note("not every function was named: it took longer than %v", s.o.MaxTime)
		} else {
			for _, a := range wanted {
				f.names[a] = symbol{} // not found is known, too
			}
		}
		maps.Copy(f.names, found)
	}
	var compiled map[uint64]Frame
	if len(jit) > 0 {
		var note string
		if compiled, note = p.perfMap(ctx, slices.Collect(maps.Keys(jit)), s.o.MaxPerfMap); note != "" {
			s.note("%s", note)
		}
	}
	return func(st step) Frame {
		if st.f == nil {
			if fr, ok := compiled[st.addr]; ok {
				return fr
			}
			return Frame{Module: st.m.base(), Offset: st.addr, Kind: Unknown}
		}
		if sym := st.f.names[st.at]; sym.name != "" {
			return Frame{Func: sym.name, Module: st.m.base(), Offset: st.at - sym.start, Kind: sym.kind}
		}
		return Frame{Module: st.m.base(), Offset: st.at, Kind: Unknown}
	}
}

// file opens the file of a mapping, or gives nil and a note.
func (s *Symbolizer) file(p *process, m mapping) *file {
	if f, ok := p.files[m.start]; ok {
		return f
	}
	p.files[m.start] = nil
	if m.inode == 0 && m.path != "[vdso]" {
		return nil
	}
	o, err := p.open(m)
	if err != nil {
		s.note("%s of process %d cannot be read: %v", m.base(), p.pid, err)
		return nil
	}
	f, err := s.parsed(o)
	if err != nil {
		s.note("%s of process %d cannot be read: %v", m.base(), p.pid, err)
		return nil
	}
	p.files[m.start] = f
	return f
}

// parsed gives the file, open, from the cache where its content is known.
func (s *Symbolizer) parsed(o opened) (*file, error) {
	f := s.cache[o.key]
	if f == nil {
		var err error
		if f, err = newFile(o); err != nil {
			o.Close()
			return nil, err
		}
		s.cache[o.key] = f
	}
	f.used = s.calls
	if f.closer != nil {
		return f, o.Close()
	}
	f.r, f.closer = o, o
	return f, nil
}

// debugFile finds the separate symbols of a stripped file, as packages install them
// under the process's root, by its build id.
func (s *Symbolizer) debugFile(p *process, f *file) {
	if f.full || f.debug != nil || f.debugTried || len(f.buildID) < 3 {
		return
	}
	f.debugTried = true
	o, _, err := p.inRoot(fmt.Sprintf("/usr/lib/debug/.build-id/%x/%x.debug", f.buildID[:1], f.buildID[1:]))
	if err != nil {
		return
	}
	if d, err := s.parsed(o); err == nil && slices.Equal(d.buildID, f.buildID) {
		f.debug = d
	}
}

// letGo closes every file, and forgets those not used for longest.
func (s *Symbolizer) letGo() {
	files := slices.Collect(maps.Values(s.cache))
	slices.SortFunc(files, func(a, b *file) int { return cmp.Compare(b.used, a.used) })
	for i, f := range files {
		f.close()
		if i >= s.o.MaxFiles {
			delete(s.cache, f.key)
		}
	}
}

func (f *file) close() {
	if f.closer != nil {
		f.closer.Close()
	}
	f.r, f.closer = nil, nil
	f.debugTried = f.debugTried && f.debug == nil
	f.debug = nil
}

// Close lets go of every file.
func (s *Symbolizer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letGo()
	clear(s.cache)
	return nil
}

func (s *Symbolizer) kernelFrames(addrs []uint64) []Frame {
	if len(addrs) == 0 {
		return nil
	}
	names, err := s.o.Kernel.symbols()
	if err != nil {
		s.note("%v", err)
	}
	frames := make([]Frame, len(addrs))
	for i, a := range addrs {
		if i > 0 {
			a-- // a return address
		}
		frames[i] = names.frame(a)
	}
	return trimmed(frames)
}

var _ io.Closer = (*Symbolizer)(nil)
