package postgres

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// fake is a backend whose memory is a file.
func fake(t *testing.T, content []byte) *backend {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mem")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &backend{myProc: 8, memory: memory{f}}
}

// image of a server's memory: MyProc at 8, the PGPROC at 0x100 with its wait at
// 0x40, the LOCK at 0x800, PROCLOCKs at 0x900 (the waiter's) and 0xa00.
func waiting() []byte {
	b := make([]byte, 4096)
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	put(8, 0x100)
	put(0x100+0x40, 0x800)
	put(0x100+0x48, 0x900)
	put(0x100+0x50, 5) // ShareLock
	b[0x800+14], b[0x800+15] = typeTransactionID, 1
	binary.LittleEndian.PutUint32(b[0x800+20:], 1<<5)
	put(0x800+24, 0xa00+32)
	put(0x800+32, 0x900+32)
	put(0x900, 0x800)
	put(0x900+8, 0x100)
	put(0x900+16, 0x100)
	put(0x900+40, 0xa00+32)
	put(0xa00, 0x800)
	put(0xa00+8, 0x700)
	put(0xa00+16, 0x700)
	put(0xa00+24, 1<<7)
	put(0xa00+40, 0x800+24)
	put(0x700+0x20, 4711)
	return b
}

func TestLayout(t *testing.T) {
	b := fake(t, waiting())
	l := &layout{pid: 0x20, waitLock: -1}
	w, ok, err := l.waiting(b)
	if err != nil || !ok || l.waitLock != 0x40 || w.mode != 5 || w.tag.Type != typeTransactionID {
		t.Fatalf("%+v, %v, %v at %#x", w, ok, err, l.waitLock)
	}
	in, err := l.blocker(b, w)
	if err != nil || in.pid != 4711 || in.queued {
		t.Errorf("%+v, %v, want 4711", in, err)
	}
	// Of its own parallel group.
	content := waiting()
	binary.LittleEndian.PutUint64(content[0xa00+16:], 0x100)
	if in, err := l.blocker(fake(t, content), w); err == nil {
		t.Errorf("a backend of the same group is in the way: %+v", in)
	}
}

// A list without an end, and pointers to anywhere.
func TestHostileMemory(t *testing.T) {
	content := waiting()
	binary.LittleEndian.PutUint64(content[0xa00+24:], 0)
	binary.LittleEndian.PutUint64(content[0xa00+40:], 0x900+32)
	l := &layout{pid: 0x20, waitLock: 0x40}
	b := fake(t, content)
	w, ok, err := l.waiting(b)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if in, err := l.blocker(b, w); err == nil {
		t.Errorf("a list without an end has %+v", in)
	}
}

func FuzzLayout(f *testing.F) {
	f.Add(waiting(), 0x40)
	f.Add(waiting(), -1)
	f.Fuzz(func(t *testing.T, content []byte, at int) {
		if at < -1 || at > procSize {
			at = -1
		}
		b := fake(t, content)
		l := &layout{pid: 0x20, waitLock: at}
		if w, ok, err := l.waiting(b); err == nil && ok {
			_, _ = l.blocker(b, w)
		}
		l.learnPID(content, 4711)
		l.learnPID(content, 4711)
	})
}

func TestActivity(t *testing.T) {
	for title, want := range map[string]string{
		"postgres: joe shop [local] idle in transaction\x00\x00": "idle in transaction",
		"postgres: 15/main: joe shop [local] UPDATE waiting":     "UPDATE waiting",
		"postgres: joe shop 10.0.0.7(51234) SELECT":              "SELECT",
		"postgres: autovacuum worker shop":                       "autovacuum worker shop",
		"/usr/lib/postgresql/15/bin/postgres\x00-D\x00/data":     "",
		"": "",
	} {
		if got := activity(title); got != want {
			t.Errorf("%q: %q, want %q", title, got, want)
		}
	}
}
