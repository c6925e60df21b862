package usdt

import (
	"debug/elf"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// MaxArguments is how many arguments a probe may have (struct usdt_spec in usdt.h).
const MaxArguments = 8

// Where an argument is, as enum usdt_place in usdt.h.
const (
	Constant uint8 = 1 + iota // Value
	Register                  // Reg
	Memory                    // at Reg + Value
)

// Argument says where a probe's argument is: struct usdt_arg in usdt.h.
type Argument struct {
	Value  uint64 // a constant, or the displacement of a memory operand
	Reg    uint16 // offset of the register in struct pt_regs
	Place  uint8
	Size   uint8 // bytes: 1, 2, 4, 8
	Signed uint8
	_      [3]uint8
}

// Arguments are a probe's, in order.
type Arguments [MaxArguments]Argument

// ParseArguments reads the arguments of a probe of a machine, which is EM_X86_64
// or EM_AARCH64. What these compilers do not write for a plain variable (an index
// register, an address relative to the instruction) is an error.
func ParseArguments(machine elf.Machine, s string) (args Arguments, n int, err error) {
	if len(s) > maxText {
		return args, 0, fmt.Errorf("arguments of %d bytes", len(s))
	}
	for s = strings.TrimSpace(s); s != ""; n++ {
		if n == MaxArguments {
			return args, 0, fmt.Errorf("more than %d arguments", MaxArguments)
		}
		var one string
		if one, s, err = next(s); err == nil {
			args[n], err = argument(machine, one)
		}
		if err != nil {
			return args, 0, fmt.Errorf("argument %d: %w", n+1, err)
		}
	}
	return args, n, nil
}

// next cuts the first argument off: there are spaces inside of brackets.
func next(s string) (one, rest string, err error) {
	end := strings.IndexByte(s, ' ')
	if open := strings.IndexByte(s, '['); open >= 0 && (end < 0 || open < end) {
		closing := strings.IndexByte(s, ']')
		if closing < open {
			return "", "", fmt.Errorf("%.40q has no closing bracket", s)
		}
		end = closing + 1
	}
	if end < 0 || end >= len(s) {
		return s, "", nil
	}
	return s[:end], strings.TrimSpace(s[end:]), nil
}

func argument(machine elf.Machine, s string) (a Argument, err error) {
	size, operand, ok := strings.Cut(s, "@")
	if ok && strings.HasPrefix(size, "-") {
		a.Signed, size = 1, size[1:]
	}
	switch size {
	case "1", "2", "4", "8":
		a.Size = size[0] - '0'
	default:
		return a, fmt.Errorf("%.40q does not begin with a size of 1, 2, 4 or 8", s)
	}
	switch machine {
	case elf.EM_X86_64:
		err = a.x86(operand)
	case elf.EM_AARCH64:
		err = a.arm64(operand)
	default:
		err = fmt.Errorf("machine %s is not known", machine)
	}
	return a, err
}

var (
	x86Memory   = regexp.MustCompile(`^([+-]?(?:0x[0-9a-f]+|[0-9]+))?\(%([a-z0-9]+)\)$`)
	arm64Memory = regexp.MustCompile(`^\[([a-z0-9]+)(?:, ?#?([+-]?(?:0x[0-9a-f]+|[0-9]+)))?\]$`)
)

func (a *Argument) x86(s string) (err error) {
	var known bool
	if value, ok := strings.CutPrefix(s, "$"); ok {
		return a.number(Constant, value)
	}
	if name, ok := strings.CutPrefix(s, "%"); ok {
		a.Place = Register
		a.Reg, known = x86Register(name)
	} else if m := x86Memory.FindStringSubmatch(s); m != nil && m[2] != "rip" {
		if err := a.number(Memory, m[1]); err != nil {
			return err
		}
		a.Reg, known = x86Register(m[2])
	}
	if !known {
		return fmt.Errorf("operand %.40q is not supported", s)
	}
	return nil
}

func (a *Argument) arm64(s string) (err error) {
	var known bool
	if value, err := strconv.ParseInt(s, 0, 64); err == nil {
		a.Place, a.Value = Constant, uint64(value)
		return nil
	}
	if m := arm64Memory.FindStringSubmatch(s); m != nil {
		if err := a.number(Memory, m[2]); err != nil {
			return err
		}
		a.Reg, known = arm64Register(m[1])
	} else {
		a.Place = Register
		a.Reg, known = arm64Register(s)
	}
	if !known {
		return fmt.Errorf("operand %.40q is not supported", s)
	}
	return nil
}

func (a *Argument) number(place uint8, s string) error {
	a.Place = place
	if s == "" {
		return nil
	}
	if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		a.Value = uint64(v)
		return nil
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no number of 64 bits", s)
	}
	a.Value = v
	return nil
}

// x86Registers are in the order of struct pt_regs (arch/x86/include/uapi/asm/ptrace.h),
// 8 bytes each, with the names of their low 8, 4, 2 and 1 bytes. The high bytes
// (%ah) are left out: no compiler puts a variable there.
const x86Registers = `r15 r15d r15w r15b
r14 r14d r14w r14b
r13 r13d r13w r13b
r12 r12d r12w r12b
rbp ebp bp bpl
rbx ebx bx bl
r11 r11d r11w r11b
r10 r10d r10w r10b
r9 r9d r9w r9b
r8 r8d r8w r8b
rax eax ax al
rcx ecx cx cl
rdx edx dx dl
rsi esi si sil
rdi edi di dil
orig_rax
rip
cs
eflags
rsp esp sp spl`

func x86Register(name string) (offset uint16, ok bool) {
	for line := range strings.Lines(x86Registers) {
		for known := range strings.FieldsSeq(line) {
			if known == name {
				return offset, true
			}
		}
		offset += 8
	}
	return 0, false
}

// arm64Register: struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h) has
// x0 to x30 and sp, 8 bytes each.
func arm64Register(name string) (offset uint16, ok bool) {
	if name == "sp" {
		return 31 * 8, true
	}
	if len(name) < 2 || name[0] != 'x' && name[0] != 'w' {
		return 0, false
	}
	n, err := strconv.ParseUint(name[1:], 10, 16)
	if err != nil || n > 30 {
		return 0, false
	}
	return uint16(8 * n), true
}
