package probe

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// cast is what readable() of bpf/include/walk.h calls where the kernel has it.
const cast = "bpf_rdonly_cast"

// WithoutCasts takes the casts out of programs for a kernel that has none, such as
// 6.1, where they are never reached. The loader does so too, after looking through
// the types of all modules for each of them, which takes seconds.
func WithoutCasts(spec *ebpf.CollectionSpec, kernel *btf.Spec) {
	var f *btf.Func
	if kernel.TypeByName(cast, &f) == nil {
		return
	}
	for _, p := range spec.Programs {
		for i, ins := range p.Instructions {
			switch {
			case ins.Reference() != cast:
			case ins.OpCode.IsDWordLoad():
				p.Instructions[i] = asm.LoadImm(ins.Dst, 0, asm.DWord).WithSource(ins.Source())
			default:
				p.Instructions[i] = asm.Mov.Imm(asm.R0, 0).WithSource(ins.Source())
			}
		}
	}
}
