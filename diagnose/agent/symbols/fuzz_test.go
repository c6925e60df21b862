package symbols

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/bpf/stack"
)

func FuzzMaps(f *testing.F) {
	f.Add([]byte("55d0a8c00000-55d0a8c28000 r-xp 00002000 fd:01 1835092    /usr/bin/a b (deleted)\n"))
	f.Add([]byte("7ffd1c9f2000-7ffd1c9f4000 r-xp 00000000 00:00 0          [vdso]\n"))
	f.Add([]byte("7f3200000000-7f3200400000 rwxp 00000000 00:00 0          [anon:jit/code]\n"))
	f.Add([]byte("0-0 r-xp 0 0:0 0\nffffffffffffffff-0 --xp 0 0:0 0 \x1b[31m\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		maps, _ := parseMaps(bytes.NewReader(b))
		p := process{maps: maps}
		for _, m := range maps {
			if m.start >= m.end {
				t.Errorf("%+v", m)
			}
			if got, ok := p.find(m.start); ok && (got.start > m.start || got.end <= m.start) {
				t.Errorf("%x is found in %+v", m.start, got)
			}
			base := m.base()
			if strings.ContainsAny(base, "\x1b\n") || strings.HasPrefix(m.path, "/") && base != "/" && strings.Contains(base, "/") {
				t.Errorf("base name %q of %q", base, m.path)
			}
		}
	})
}

func FuzzPerfMap(f *testing.F) {
	f.Add([]byte("1000 20 Lcom/example/Shop;::checkout\n1010 8 inner\n"), false)
	f.Add([]byte("0x1000 0x20 a\nffffffffffffffff ffffffffffffffff b\n"), true)
	f.Add([]byte(strings.Repeat("x", 70000)+"\n1000 20 after\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, cut bool) {
		wanted := []uint64{0x1000, 0x1018, 1 << 63}
		found, err := scanPerfMap(t.Context(), bytes.NewReader(b), cut, wanted)
		if err != nil || len(found) > len(wanted) {
			t.Errorf("%d found: %v", len(found), err)
		}
		for _, fr := range found {
			if len(fr.Func) > maxName {
				t.Errorf("a name of %d bytes", len(fr.Func))
			}
		}
	})
}

func FuzzKallsyms(f *testing.F) {
	f.Add([]byte("ffffffff81000000 T _text\nffffffff82000000 D rtnl_mutex\nffffffffc0000000 t ext4_sync\t[ext4]\n0000000000000000 A x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKallsyms(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, table := range []symbolTable{k.functions, k.variables} {
			for _, s := range table.all {
				if _, _, offset := table.find(s.addr); offset != 0 {
					t.Errorf("%x is at %d", s.addr, offset)
				}
			}
		}
		k.frame(1 << 63)
	})
}

// FuzzFile walks and names with whatever an ELF file says: its headers, symbols,
// unwind tables and Go's tables.
func FuzzFile(f *testing.F) {
	b, err := os.ReadFile("testdata/tiny.elf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, uint64(0x400111), uint64(0x400113))
	f.Fuzz(func(t *testing.T, b []byte, at, other uint64) {
		file, err := newFile(opened{bytes.NewReader(b), io.NopCloser(nil), fileKey{}})
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wanted := []uint64{at, other}
		for _, p := range file.loads {
			wanted = append(wanted, p.Vaddr, p.Vaddr+p.Filesz/2)
		}
		for _, a := range wanted {
			walkIn(file, a)
		}
		for _, s := range file.lookup(ctx, wanted) {
			if len(s.name) > maxName {
				t.Errorf("a name of %d bytes", len(s.name))
			}
		}
	})
}

// walkIn walks a stack whose every word may be a return address into the file.
func walkIn(elfFile *file, at uint64) {
	m := mapping{start: 0, end: 1 << 62, inode: 1}
	elfFile.loads = append(elfFile.loads, elf.ProgHeader{Type: elf.PT_LOAD, Filesz: 1 << 62, Memsz: 1 << 62})
	p := &process{maps: []mapping{m}, opener: func(mapping) *file { return elfFile }}
	s := stack.Stack{IP: at, SP: 1 << 20, BP: 1<<20 + 64}
	for i := range uint64(128) {
		s.User = binary.LittleEndian.AppendUint64(s.User, at+i%3)
	}
	p.walk(s)
	elfFile.loads = elfFile.loads[:len(elfFile.loads)-1]
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte{0x41, 0x0e, 0x10, 0x86, 0x02, 0x0a, 0x0b, 0x0f, 0x02, 0x77, 0x08, 0x06}, []byte{0x0c, 0x07, 0x08, 0x90, 0x01}, uint64(0x1001))
	f.Fuzz(func(t *testing.T, program, initial []byte, at uint64) {
		e := entry{start: 0x1000, end: 0x2000, program: program, initial: initial, codeAlign: 1, dataAlign: -8, returnReg: regIP}
		r, ok := e.run(at)
		if !ok {
			return
		}
		w := walker{memory: make([]byte, 512), base: 1 << 20, ip: 1, sp: 1 << 20, bp: 1<<20 + 64}
		w.up(r)
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"_ZNSt6vectorIiE9push_backEOi", "_RNvC4core3foo", "\x1b[2J", "_Z" + strings.Repeat("S_", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		begun := time.Now()
		if n := readable(s); len(n) > 2*maxName || strings.ContainsAny(n, "\x1b\n\r") {
			t.Errorf("%q", n)
		}
		goName(s)
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("%q took %v", s, d)
		}
	})
}

// goTable is the .gopclntab of a program with two functions at 0x1000: main.first, 32
// bytes long, which lowers SP by 24 after 4 bytes, and main.(*T).last of 16 bytes,
// which is a goroutine's first.
func goTable() []byte {
	le := binary.LittleEndian
	names := []byte("main.first\x00main.(*T[go.shape.int]).last\x00")
	pcs := []byte{0 /* not used */, 2, 4, 48, 28, 0 /* +1, 4 bytes; +24, 28 bytes */, 2, 16, 0}
	fn := func(entry, name, pcsp uint32, flag byte) []byte {
		b := make([]byte, 44)
		le.PutUint32(b, entry)
		le.PutUint32(b[4:], name)
		le.PutUint32(b[16:], pcsp)
		b[41] = flag
		return b
	}
	table := le.AppendUint32(nil, 0)
	table = le.AppendUint32(table, 24)
	table = le.AppendUint32(table, 32)
	table = le.AppendUint32(table, 24+44)
	table = le.AppendUint64(le.AppendUint32(table, 48), 0)[:24]
	table = append(append(table, fn(0, 0, 1, 0)...), fn(32, 11, 6, 1)...)
	b := append(le.AppendUint32(nil, 0xfffffff1), 0, 0, 1, 8)
	at := uint64(72)
	for _, w := range []uint64{2, 0, 0x1000, at, 0, 0, at + uint64(len(names)), at + uint64(len(names)+len(pcs))} {
		b = le.AppendUint64(b, w)
	}
	return append(append(append(b, names...), pcs...), table...)
}

func goFile(b []byte) (*file, *gotab) {
	f := &file{r: bytes.NewReader(b), pages: map[int64][]byte{}}
	return f, f.newGotab(0, int64(len(b)), 0x1000, 0)
}

func TestGoTable(t *testing.T) {
	f, tab := goFile(goTable())
	for _, c := range []struct {
		addr  uint64
		name  string
		delta int64
		top   bool
	}{
		{0xfff, "", 0, false}, {0x1000, "main.first", 0, false}, {0x1003, "main.first", 0, false}, {0x1004, "main.first", 24, false},
		{0x101f, "main.first", 24, false}, {0x1020, "main.(*T[...]).last", 0, true}, {0x1030, "", 0, false},
	} {
		s, _ := tab.lookup(f, c.addr)
		delta, ok := tab.spDelta(f, c.addr)
		top, _ := tab.ends(f, c.addr)
		if s.name != c.name || delta != c.delta || ok != (c.name != "") || top != c.top {
			t.Errorf("%x is %q, delta %d %v, top %v; want %+v", c.addr, s.name, delta, ok, top, c)
		}
	}
}

func FuzzGoTable(f *testing.F) {
	f.Add(goTable(), uint64(0x1004))
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		file, tab := goFile(b)
		for _, a := range []uint64{addr, 0x1000, 0x1010} {
			if s, _ := tab.lookup(file, a); len(s.name) > maxName {
				t.Errorf("a name of %d bytes", len(s.name))
			}
			tab.spDelta(file, a)
			tab.ends(file, a)
		}
	})
}
