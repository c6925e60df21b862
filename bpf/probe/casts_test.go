package probe

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// A kernel without bpf_rdonly_cast is played by a BTF without any function: the
// programs load then without it, on every kernel.
func TestWithoutCasts(t *testing.T) {
	spec, err := loadMembers()
	if err != nil {
		t.Fatal(err)
	}
	mentions := func() (n int) {
		for _, p := range spec.Programs {
			for _, ins := range p.Instructions {
				if ins.Reference() == cast || ins.IsKfuncCall() {
					n++
				}
			}
		}
		return n
	}
	if mentions() == 0 {
		t.Fatal("no program has a cast")
	}
	var none btf.Builder
	if _, err := none.Add(&btf.Int{Name: "int", Size: 4}); err != nil {
		t.Fatal(err)
	}
	raw, err := none.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	WithoutCasts(spec, kernel)
	if n := mentions(); n != 0 {
		t.Errorf("%d casts are left", n)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
