package usdt

import (
	"bytes"
	"debug/elf"
	"slices"
	"testing"
)

// FuzzFile: no file makes the parser panic, or return what lies outside of it.
func FuzzFile(f *testing.F) {
	f.Add(points)
	f.Add(object) // relocatable, another machine
	f.Add(points[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, _, err := file.Symbol("MyProc"); err != nil {
			t.Log(err)
		}
		file.Address(0x1000)
		probes, err := file.Probes()
		if err != nil {
			return
		}
		for _, p := range probes {
			if len(p.Provider)+len(p.Name)+len(p.Arguments) > 3*maxText {
				t.Errorf("texts of %d, %d and %d bytes", len(p.Provider), len(p.Name), len(p.Arguments))
			}
			if _, n, err := ParseArguments(elf.EM_X86_64, p.Arguments); err == nil && n > MaxArguments {
				t.Errorf("%d arguments", n)
			}
		}
	})
}

// FuzzNotes fuzzes the notes alone, which is where a program's own text is.
func FuzzNotes(f *testing.F) {
	file, err := NewFile(bytes.NewReader(points))
	if err != nil {
		f.Fatal(err)
	}
	s, _ := file.section(".note.stapsdt")
	seed, err := file.content(s, maxNotes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, notes []byte) {
		b := append(slices.Clone(points), notes...)
		file, err := NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for i := range file.sections {
			if file.sections[i].name == ".note.stapsdt" {
				file.sections[i].Off, file.sections[i].Size = uint64(len(points)), uint64(len(notes))
			}
		}
		probes, err := file.Probes()
		for _, p := range probes {
			if err == nil && (p.Location >= uint64(len(points)) || p.Semaphore >= uint64(len(points))) {
				t.Errorf("%+v is outside of a file of %d bytes", p, len(points))
			}
		}
	})
}

func FuzzParseArguments(f *testing.F) {
	for _, s := range []string{
		"4@(%r12) 4@4(%r12) 4@8(%r12) 2@12(%r12) 1@14(%r12) -4@%r13d", // postgres, lock__wait__start
		"8@%r14 8@%rbx 8@%r13 8@%rdi 8@%r8 8@%rax 8@%r9 8@%rdx",       // libjvm.so, mem__pool__gc__begin
		"-4@88+CheckpointStats(%rip) -4@$-1 1@%dil", "8@x0 -4@[sp, 24] -4@7",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
			spec, n, err := ParseArguments(m, s)
			for _, a := range spec[:n] {
				if err == nil && (a.Place < Constant || a.Place > Memory || a.Size == 0 || a.Size > 8 || a.Reg > 31*8) {
					t.Errorf("%q: %+v", s, a)
				}
			}
		}
	})
}
