package symbols

import (
	"os"
	"path/filepath"
	"testing"
)

// The kernel's symbols are read once, and again when a module has come.
func TestKernelSymbols(t *testing.T) {
	proc := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(proc, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const kallsyms = `ffffffff81000000 T _text
ffffffff82000000 D cgroup_mutex
ffffffff82000020 d css_set_lock
ffffffff82000028 D __start_once
ffffffff83000000 B rtnl_mutex
ffffffff84000000 A _end
bad line
`
	k := NewKernelSymbols(proc)
	write("kallsyms", kallsyms)
	write("modules", "ext4 1048576 2 - Live 0xffffffffc0000000\n")
	got := k.Variables([]uint64{0xffffffff82000008, 0xffffffff82000028, 0xffffffff83001000, 0xffffffff81000004})
	if len(got) != 2 || got[0xffffffff82000008] != "cgroup_mutex" || got[0xffffffff82000028] != "css_set_lock" {
		t.Errorf("got %v", got)
	}
	names := func() string {
		s, err := k.symbols()
		if err != nil {
			t.Fatal(err)
		}
		return s.frame(0xffffffffc1000010).Func + " " + s.frame(0xffffffff81000004).String()
	}
	write("kallsyms", kallsyms+"ffffffffc1000000 t dm_map\t[dm_mod]\n")
	write("modules", "ext4 1048576 3 - Live 0xffffffffc0000000\n") // used once more
	if got := names(); got != " _text (kernel)" {
		t.Errorf("read again without a reason: %q", got)
	}
	write("modules", "dm_mod 1048576 1 - Live 0xffffffffc1000000\next4 1048576 3 - Live 0xffffffffc0000000\n")
	if got := names(); got != "dm_map _text (kernel)" {
		t.Errorf("with the module: %q", got)
	}
	write("modules", "")
	write("kallsyms", "0000000000000000 T _text\n")
	if err := k.Read(); err == nil {
		t.Error("hidden addresses are no error")
	}
}
