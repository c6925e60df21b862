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
	"time"

	"github.com/kmend/kmend/bpf/stack"
)

const (
	maxNotes    = 16
	maxNames    = 16384 // of one file that are kept
	maxEarly    = 64    // processes that are held by Prefetch
	earlyFor    = 10 * time.Minute
	rereadAfter = 5 * time.Minute // the kernel's symbols: modules come and go
)

// Prefetch reads what processes map and opens the files, so that their stacks can
// be named also when they have ended until then. What it holds is let go by the
// Resolve that names them, or after ten minutes. Errors are not reported: they are
// Resolve's notes.
func (s *Symbolizer) Prefetch(pids ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range pids {
		if s.early[pid] != nil || len(s.early) >= maxEarly {
			continue
		}
		p, err := readProcess(s.o.Proc, pid)
		if err != nil {
			continue
		}
		p.read = time.Now()
		for _, m := range p.maps {
			if len(p.files) >= s.o.MaxFiles {
				break
			}
			_ = s.file(p, m)
		}
		s.early[pid] = p
	}
}

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
	for i, st := range stacks { // last: the first time it takes 75 ms
		r.Stacks[i].Kernel = s.kernelFrames(st.Kernel)
	}
	s.letGo(slices.Collect(maps.Keys(byPID)))
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

// process reads what pid maps now, or gives what was read before it ended.
func (s *Symbolizer) process(pid int) *process {
	now, err := readProcess(s.o.Proc, pid)
	early := s.early[pid]
	switch {
	case err == nil:
		return now
	case early != nil:
		return early
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

// letGo closes every file but those that Prefetch holds for others, and forgets the
// files not used for longest.
func (s *Symbolizer) letGo(resolved []int) {
	for pid, p := range s.early {
		if slices.Contains(resolved, pid) || time.Since(p.read) > earlyFor {
			delete(s.early, pid)
		}
	}
	held := map[*file]bool{}
	for _, p := range s.early {
		for _, f := range p.files {
			held[f] = true
		}
	}
	files := slices.Collect(maps.Values(s.cache))
	slices.SortFunc(files, func(a, b *file) int { return cmp.Compare(b.used, a.used) })
	for i, f := range files {
		if held[f] {
			continue
		}
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
	clear(s.early)
	s.letGo(nil)
	clear(s.cache)
	return nil
}

func (s *Symbolizer) kernelFrames(addrs []uint64) []Frame {
	if len(addrs) == 0 {
		return nil
	}
	k, err := s.kernelTable()
	if err != nil {
		s.note("%v", err)
	}
	frames := make([]Frame, len(addrs))
	for i, a := range addrs {
		if i > 0 {
			a-- // a return address
		}
		if frames[i] = (Frame{Module: "kernel", Offset: a, Kind: Kernel}); k != nil {
			frames[i], _ = k.frame(a)
		}
	}
	return trimmed(frames)
}

func (s *Symbolizer) kernelTable() (*kernel, error) {
	if time.Since(s.kernelRead) > rereadAfter {
		s.kernel, s.kernelErr = readKernel(s.o.Proc)
		s.kernelRead = time.Now()
	}
	return s.kernel, s.kernelErr
}

// KernelName is the function at an address of the kernel and the offset in it. ok is
// false where there is none or addresses are hidden (kernel.kptr_restrict); then
// KernelError says why.
func (s *Symbolizer) KernelName(addr uint64) (f Frame, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.kernelTable()
	if err != nil {
		return Frame{Module: "kernel", Offset: addr, Kind: Kernel}, false
	}
	return k.frame(addr)
}

// KernelError is nil, or why the kernel's symbols cannot be read and what to do.
func (s *Symbolizer) KernelError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.kernelTable()
	return err
}

var _ io.Closer = (*Symbolizer)(nil)
