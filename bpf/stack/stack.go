// Package stack is the Go twin of bpf/include/stack.h: stacks of threads as the
// kernel recorded them, not yet walked or named. Probes read them from their maps;
// diagnose/agent/symbols turns them into names.
package stack

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
)

// Limits of one stack, as stack.h has them.
const (
	MaxBytes        = 8192 // of user memory
	MaxKernelFrames = 48
	// None is the index of a stack that was not kept (NO_STACK).
	None = ^uint32(0)
)

const (
	headerSize = 3*8 + 4*4
	// Size of struct stack, in bytes.
	Size = headerSize + MaxKernelFrames*8 + MaxBytes
)

// Stack is one recorded stack. A kernel thread has no user part: IP is 0.
type Stack struct {
	PID, TID int // in the initial pid namespace
	// IP, SP and BP are the registers with which the thread entered the kernel: the
	// next instruction, the stack pointer and the frame pointer (x29 on arm64).
	IP, SP, BP uint64
	User       []byte   // memory from SP up; empty when it could not be read
	Kernel     []uint64 // addresses inside the kernel, innermost first; empty in user mode
}

// Decode reads a struct stack. The result does not keep b.
func Decode(b []byte) (Stack, error) {
	if len(b) < Size {
		return Stack{}, fmt.Errorf("decoding a stack: %d of %d bytes", len(b), Size)
	}
	order := binary.NativeEndian
	s := Stack{
		IP: order.Uint64(b), SP: order.Uint64(b[8:]), BP: order.Uint64(b[16:]),
		PID: int(order.Uint32(b[24:])), TID: int(order.Uint32(b[28:])),
	}
	n, frames := order.Uint32(b[32:]), order.Uint32(b[36:])
	if n > MaxBytes || frames > MaxKernelFrames {
		return Stack{}, fmt.Errorf("decoding a stack: %d bytes and %d frames, allowed are %d and %d", n, frames, MaxBytes, MaxKernelFrames)
	}
	for i := range frames {
		s.Kernel = append(s.Kernel, order.Uint64(b[headerSize+8*i:]))
	}
	s.User = append([]byte(nil), b[headerSize+MaxKernelFrames*8:][:n]...)
	return s, nil
}

// Read gives the first n stacks of the map `stacks`, as many as it has, mapped by
// ebpf.Map.Memory. One that is not whole is an empty Stack, so that indexes hold.
func Read(stacks *ebpf.Memory, n int) ([]Stack, error) {
	n = min(n, int(stacks.Size())/Size)
	b := make([]byte, Size)
	out := make([]Stack, n)
	for i := range out {
		if _, err := io.ReadFull(io.NewSectionReader(stacks, int64(i)*Size, Size), b); err != nil {
			return nil, fmt.Errorf("reading stack %d of %d: %w", i, n, err)
		}
		out[i], _ = Decode(b)
	}
	return out, nil
}
