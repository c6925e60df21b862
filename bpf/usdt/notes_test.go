package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestProbes(t *testing.T) {
	for _, c := range []struct {
		file      []byte
		arguments [2]string
		locations [2]uint64
	}{
		{points, [2]string{"8@%r12 -4@%eax 4@%eax -4@(%rbx) 4@4(%rbx) 8@8(%rbx) -2@16(%rbx) -4@$-5", "8@%r12"}, [2]uint64{0x1024, 0x1025}},
		{pointsARM64, [2]string{"8@x19 -4@w0 4@w0 -4@[x20] 4@[x20, 4] 8@[x20, 8] -2@[x20, 16] -4@-5", "8@x19"}, [2]uint64{0x1028, 0x102c}},
	} {
		f, err := NewFile(bytes.NewReader(c.file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Probes()
		if err != nil {
			t.Fatal(err)
		}
		want := []Probe{{"test", "tick", c.arguments[0], c.locations[0], 0x3016}, {"test", "always", c.arguments[1], c.locations[1], 0}}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", f.Machine, got, want)
		}
	}
}

// Prelink moves a file's addresses and leaves its notes: the section
// .stapsdt.base says by how much.
func TestProbesPrelinked(t *testing.T) {
	moved := slices.Clone(points)
	const by = 0x10000000
	add := func(at int) {
		binary.LittleEndian.PutUint64(moved[at:], binary.LittleEndian.Uint64(moved[at:])+by)
	}
	var h elf.Header64
	if _, err := binary.Decode(moved, binary.LittleEndian, &h); err != nil {
		t.Fatal(err)
	}
	for i := range int(h.Phnum) {
		add(int(h.Phoff) + 56*i + 16) // p_vaddr
	}
	for i := range int(h.Shnum) {
		add(int(h.Shoff) + 64*i + 16) // sh_addr
	}
	f, err := NewFile(bytes.NewReader(moved))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Probes()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Location != 0x1024 || got[0].Semaphore != 0x3016 {
		t.Errorf("%+v: the file offsets are other than before it was moved", got)
	}
}

// The programs that are measured, against readelf.
func TestProbesOfPrograms(t *testing.T) {
	readelf, err := exec.LookPath("readelf")
	if err != nil {
		t.Skip("needs readelf (binutils) and programs with probes; runs in `make test`")
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/lib/jvm/*/lib/server/libjvm.so", "/lib/*/libc.so.6"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			out, err := exec.Command(readelf, "-nW", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, m := range regexp.MustCompile(`Provider: (.*)\n *Name: (.*)\n *Location: .*\n *Arguments: ?(.*)`).FindAllStringSubmatch(string(out), -1) {
				want = append(want, strings.Join(m[1:], "|"))
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			f, err := NewFile(file)
			if err != nil {
				t.Fatal(err)
			}
			probes, err := f.Probes()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			unread := 0
			for _, p := range probes {
				got = append(got, p.Provider+"|"+p.Name+"|"+p.Arguments)
				if _, _, err := ParseArguments(f.Machine, p.Arguments); err != nil {
					unread++
				}
			}
			t.Logf("%s: %d probes, %d with arguments that are not read", path, len(probes), unread)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d probes, readelf has %d", path, len(got), len(want))
			}
			if unread > len(probes)/10 {
				t.Errorf("%s: the arguments of %d of %d probes are not read", path, unread, len(probes))
			}
		}
	}
}

func TestSymbol(t *testing.T) {
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(paths) == 0 {
		t.Skip("needs postgres; runs in `make test`")
	}
	file, err := os.Open(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	std, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := std.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	addr, ok, err := f.Symbol("MyProc")
	i := slices.IndexFunc(all, func(s elf.Symbol) bool { return s.Name == "MyProc" })
	if err != nil || !ok || i < 0 || all[i].Value != addr {
		t.Errorf("MyProc is at %#x, %v, %v; debug/elf has %+v", addr, ok, err, all[max(0, i)])
	}
	if _, ok, err := f.Symbol("MyPro"); ok || err != nil {
		t.Errorf("a symbol that is not there: %v, %v", ok, err)
	}
}

func TestHostileFiles(t *testing.T) {
	const shoff, shnum = 40, 60
	section := func(name string) int { // offset of its header
		f, err := NewFile(bytes.NewReader(points))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.sections, func(s elfSection) bool { return s.name == name })
		return int(binary.LittleEndian.Uint64(points[shoff:])) + 64*i
	}
	notes := section(".note.stapsdt")
	at := int(binary.LittleEndian.Uint64(points[notes+24:]))
	for name, change := range map[string]func(b []byte){
		"no ELF":             func(b []byte) { b[0] = 'x' },
		"32 bits":            func(b []byte) { b[4] = 1 },
		"big endian":         func(b []byte) { b[5] = 2 },
		"sections nowhere":   func(b []byte) { binary.LittleEndian.PutUint64(b[shoff:], 1<<63) },
		"sections past end":  func(b []byte) { binary.LittleEndian.PutUint64(b[shoff:], uint64(len(b))-10) },
		"too many sections":  func(b []byte) { binary.LittleEndian.PutUint16(b[shnum:], 0xffff) },
		"names section":      func(b []byte) { binary.LittleEndian.PutUint16(b[62:], 0xfff) },
		"notes of 16 EB":     func(b []byte) { binary.LittleEndian.PutUint64(b[notes+32:], 1<<64-1) },
		"notes past end":     func(b []byte) { binary.LittleEndian.PutUint64(b[notes+32:], 1<<20) },
		"owner of 4 GB":      func(b []byte) { binary.LittleEndian.PutUint32(b[at:], 0xffffffff) },
		"content of 4 GB":    func(b []byte) { binary.LittleEndian.PutUint32(b[at+4:], 0xfffffffd) },
		"content of 5 bytes": func(b []byte) { binary.LittleEndian.PutUint32(b[at+4:], 5) },
		"no ends of strings": func(b []byte) {
			for i := at + 44; b[i] != 'u' && i < at+400; i++ {
				b[i] = 'x'
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(points)
			change(b)
			f, err := NewFile(bytes.NewReader(b))
			if err == nil {
				_, err = f.Probes()
			}
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

type elfSection = section

func TestParseArguments(t *testing.T) {
	for _, c := range []struct {
		machine elf.Machine
		text    string
		want    string // n arguments, or the error
	}{
		{elf.EM_X86_64, "", "[]"},
		// Of Debian's postgres and libjvm.so.
		{elf.EM_X86_64, "4@(%r12) 4@4(%r12) 4@8(%r12) 2@12(%r12) 1@14(%r12) -4@%r13d",
			"[u4 mem(24+0) u4 mem(24+4) u4 mem(24+8) u2 mem(24+12) u1 mem(24+14) s4 reg(16)]"},
		{elf.EM_X86_64, "8@%r14 8@%rbx 8@%rdi 1@%dil -4@$0 4@0(%rsp) -8@-24(%rbp)",
			"[u8 reg(8) u8 reg(40) u8 reg(112) u1 reg(112) s4 const(0) u4 mem(152+0) s8 mem(32+-24)]"},
		{elf.EM_X86_64, "-4@$-1 8@$0xffffffffffffffff", "[s4 const(-1) u8 const(-1)]"},
		{elf.EM_AARCH64, "8@x0 -4@w19 8@[sp, 24] 4@[x1] -4@7 8@[x29, -16]",
			"[u8 reg(0) s4 reg(152) u8 mem(248+24) u4 mem(8+0) s4 const(7) u8 mem(232+-16)]"},
		{elf.EM_X86_64, "-4@88+CheckpointStats(%rip)", "not supported"},
		{elf.EM_X86_64, "8@(%rax,%rbx,8)", "not supported"},
		{elf.EM_X86_64, "8@%ymm0", "not supported"},
		{elf.EM_X86_64, "8@%ah", "not supported"},
		{elf.EM_X86_64, "8%rax", "does not begin with a size"},
		{elf.EM_X86_64, "8@$99999999999999999999", "no number of 64 bits"},
		{elf.EM_X86_64, "3@%rax", "does not begin with a size"},
		{elf.EM_X86_64, "1@%al 1@%al 1@%al 1@%al 1@%al 1@%al 1@%al 1@%al 1@%al", "more than 8"},
		{elf.EM_AARCH64, "8@[x1", "no closing bracket"},
		{elf.EM_AARCH64, "8@x31", "not supported"},
		{elf.EM_RISCV, "8@a0", "not known"},
	} {
		spec, n, err := ParseArguments(c.machine, c.text)
		got := fmt.Sprint(spec[:n])
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %q: %s, want %s", c.machine, c.text, got, c.want)
		}
	}
}

// String is for the test above.
func (a Argument) String() string {
	sign := "u"
	if a.Signed == 1 {
		sign = "s"
	}
	place := map[uint8]string{
		Constant: fmt.Sprintf("const(%d)", int64(a.Value)),
		Register: fmt.Sprintf("reg(%d)", a.Reg),
		Memory:   fmt.Sprintf("mem(%d+%d)", a.Reg, int64(a.Value)),
	}[a.Place]
	return fmt.Sprintf("%s%d %s", sign, a.Size, place)
}

func TestMapping(t *testing.T) {
	got, ok := mapping("7fa09a2e6000-7fa09a2e7000 r-xp 00001000 fe:00 5316798                    /a dir/libjvm.so (deleted)")
	want := Mapping{0x7fa09a2e6000, 0x7fa09a2e7000, 0x1000, true, "fe:00", 5316798, "/a dir/libjvm.so (deleted)"}
	if !ok || got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, line := range []string{"", "x", "7fa0-7fb0 r-xp 0 0:0 0 [vdso]", "7fb0-7fa0 r-xp 0 0:0 7 /x", "7fb0 r-xp 0 0:0 7 /x"} {
		if m, ok := mapping(line); ok {
			t.Errorf("%q is %+v", line, m)
		}
	}
}
