package locks

import (
	"strings"
	"testing"
)

func TestImage(t *testing.T) {
	for _, c := range []struct {
		name string
		text string
		want uint64
	}{
		{"x86_64", "00001000-0009fbff : System RAM\n00100000-7ffdafff : System RAM\n  01000000-02209987 : Kernel code\n  02400000-02e09fff : Kernel rodata\n" +
			"  03000000-0327c0ff : Kernel data\n  03b34000-03c57fff : Kernel bss\n  2b000000-36ffffff : Crash kernel\n", 0x02c58000},
		{"arm64", "40000000-7fffffff : System RAM\n  40210000-4165ffff : Kernel code\n  41660000-41b5ffff : reserved\n  41b60000-41ffffff : Kernel data\n", 0x01df0000},
		{"hidden", "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n  00000000-00000000 : Kernel bss\n", 0},
		{"none", "00100000-7ffdafff : System RAM\n", 0},
	} {
		if got, err := imageSize(strings.NewReader(c.text)); got != c.want || err != nil {
			t.Errorf("%s: the image has %#x bytes, want %#x; %v", c.name, got, c.want, err)
		}
	}
	for text, want := range map[string]uint64{
		"0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81010000 T _stext\nffffffffc0203000 t _stext\t[ext4]\n": 0xffffffff81010000,
		"0000000000000000 T _stext\n": 0,
		"":                            0,
	} {
		if got, err := imageStart(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%q: the image begins at %#x, want %#x; %v", text, got, want, err)
		}
	}
}
