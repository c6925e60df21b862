package hotspot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/kmend/kmend/test/jvm"
	"github.com/kmend/kmend/test/rig"
)

func own(t testing.TB) memory {
	t.Helper()
	m, err := openMemory("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.f.Close() })
	return m
}

// Where there is nothing there are zeros, and what comes after is read.
func TestGather(t *testing.T) {
	m := own(t)
	values := make([]uint64, 3000)
	var addrs, want []uint64
	for i := range values {
		values[i] = uint64(i) + 1
		addrs, want = append(addrs, uint64(uintptr(unsafe.Pointer(&values[i])))), append(want, values[i])
		if i%700 == 0 {
			addrs, want = append(addrs, 0, 8, 1<<63), append(want, 0, 0, 0)
		}
	}
	if got := words(m.gather(addrs, 8)); !bytes.Equal(raw(got), raw(want)) {
		t.Errorf("%d words, want %d; not the same", len(got), len(want))
	}
	if m.word(addrs[0]) != 1 || m.word(0) != 0 || m.half(1<<63) != 0 || len(m.gather(nil, 8)) != 0 {
		t.Error("single words are not the same")
	}
	text := []byte("ThreadsList\x00")
	if got := m.text(uint64(uintptr(unsafe.Pointer(&text[0])))); got != "ThreadsList" || m.text(8) != "" {
		t.Errorf("got %q", got)
	}
	runtime.KeepAlive(values)
}

func raw(ws []uint64) (b []byte) {
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// A machine may have a pid namespace of its own: its threads have other ids there.
func TestOtherNamespace(t *testing.T) {
	rig.Root(t)
	m := jvm.StartAs(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, []string{"-XX:+UseSerialGC", "-Xmx64m"}, "reentrant", 4, 0)
	r := watch(t, m.PID)
	if len(r.Locks) == 0 {
		t.Fatal("no lock")
	}
	l := r.Locks[0]
	if l.Wait < 3*r.Watched/2 || len(l.Waiters) != 4 || len(l.Holders) == 0 {
		t.Errorf("%+v", l)
	}
	for tid := range l.Waiters {
		if tid <= m.PID {
			t.Errorf("thread %d of process %d", tid, m.PID)
		}
	}
}

// A machine that ends while it is looked at.
func TestEnds(t *testing.T) {
	rig.Root(t)
	m := jvm.Start(t, []string{"-XX:+UseSerialGC", "-Xmx64m"}, "reentrant", 4, 0)
	time.AfterFunc(window/2, func() { _ = syscall.Kill(m.PID, syscall.SIGKILL) })
	r := watch(t, m.PID)
	if len(r.Locks) == 0 || r.Locks[0].Contended > window*3/4 {
		t.Errorf("%+v", r)
	}
}

func FuzzVariables(f *testing.F) {
	var small bytes.Buffer
	names := []byte("\x00.symtab\x00.strtab\x00wanted\x00")
	_ = binary.Write(&small, binary.LittleEndian, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: 64, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	})
	_ = binary.Write(&small, binary.LittleEndian, [3]elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_SYMTAB), Off: 256, Size: elf.Sym64Size, Link: 2, Entsize: elf.Sym64Size},
		{Name: 9, Type: uint32(elf.SHT_STRTAB), Off: 280, Size: uint64(len(names))},
	})
	_ = binary.Write(&small, binary.LittleEndian, elf.Sym64{Name: 17, Info: byte(elf.STT_OBJECT), Shndx: 1, Value: 99, Size: 4})
	small.Write(names)
	if got := variables(bytes.NewReader(small.Bytes()), "wanted", "other"); len(got) != 1 || got["wanted"] != 99 {
		f.Fatalf("got %v", got)
	}
	f.Add(small.Bytes())
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := variables(bytes.NewReader(b), "wanted"); len(got) > 1 {
			t.Errorf("%v", got)
		}
	})
}

// FuzzLook follows whatever a process has where a virtual machine should be.
func FuzzLook(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 || len(b) > 4096 {
			return
		}
		at := uint64(uintptr(unsafe.Pointer(&b[0])))
		for i := 0; i+8 <= len(b); i += 16 { // some of it leads back into it
			binary.LittleEndian.PutUint64(b[i:], at+binary.LittleEndian.Uint64(b[i:])%uint64(len(b)))
		}
		m := &machine{pid: os.Getpid(), dir: "/proc/self", memory: own(t), names: map[uint64]string{}, tids: map[int]int{}, layout: &layout{
			threads: at, length: uint64(b[0]), array: 8, thread: 16, pending: 24, system: 32, tid: 4, object: 8, owner: 16,
			klassBase: at, klassShift: 3, klass: 8, name: 16, size: 4, body: 6, compressed: b[1]%2 == 0, classes: true, oopBase: at, blocker: 12, eetop: 16, holds: 24,
		}}
		locks := map[key]*Lock{}
		m.look(locks, time.Second)
		if len(locks) > maxLocks {
			t.Errorf("%d locks", len(locks))
		}
		runtime.KeepAlive(b)
	})
}
