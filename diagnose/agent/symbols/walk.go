package symbols

import (
	"encoding/binary"

	"github.com/kmend/kmend/bpf/stack"
)

const maxFrames = 128

// step is one frame as walking finds it.
type step struct {
	addr uint64 // in the process: of the next instruction, in callers less one
	m    mapping
	f    *file  // nil: the mapping is not a file that can be read
	at   uint64 // in the file
}

// walker goes from frame to frame of one stack.
type walker struct {
	p          *process
	memory     []byte
	base       uint64 // address of memory[0]
	ip, sp, bp uint64
	at         uint64 // ip as the file has it
}

func (w *walker) word(addr uint64) (uint64, bool) {
	off := addr - w.base
	if addr < w.base || off+8 > uint64(len(w.memory)) || off+8 < off {
		return 0, false
	}
	return binary.LittleEndian.Uint64(w.memory[off:]), true
}

// walk gives the frames of a stack, innermost first, and whether it reached the
// first function of the thread.
func (p *process) walk(s stack.Stack) (steps []step, whole bool) {
	w := walker{p: p, memory: s.User, base: s.SP, ip: s.IP, sp: s.SP, bp: s.BP}
	called := false // whether ip is a return address: the call may be the function's last instruction
	for len(steps) < maxFrames && w.ip != 0 {
		st := step{addr: w.ip}
		if called {
			st.addr--
		}
		var ok bool
		if st.m, ok = p.find(st.addr); !ok {
			return steps, false
		}
		r := rule{}
		if f := p.opener(st.m); f != nil {
			if st.at, ok = f.address(st.m, st.addr); ok {
				st.f = f
				r = f.ruleFor(st.at)
			}
		}
		steps = append(steps, st)
		w.at = st.at
		if r.top {
			return steps, true
		}
		if r.switches && called {
			return steps, false
		}
		var more bool
		if more, whole = w.up(r); !more {
			return steps, whole
		}
		called = !r.signal
	}
	return steps, w.ip == 0
}

// up moves to the caller. Whole: there is none.
func (w *walker) up(r rule) (more, whole bool) {
	before := w.sp
	switch r.kind {
	case byTable:
		more, whole = w.byTable(r)
	case byGo:
		more = w.byGo(r)
	default:
		more, whole = w.byPointer()
	}
	// A stack that goes in circles is broken, or hostile.
	if more && w.sp <= before && !r.signal {
		return false, false
	}
	return more, whole
}

func (w *walker) byGo(r rule) bool {
	frame := w.sp + uint64(r.delta) + 8
	ip, ok := w.word(frame - 8)
	if r.delta >= 8 {
		if bp, ok := w.word(frame - 16); ok {
			w.bp = bp
		}
	}
	w.ip, w.sp = ip, frame
	return ok
}

// byPointer is for code of which nothing is known: the frame pointer leads to the
// caller's, and the return address is beside it. A 0 there is the thread's begin.
func (w *walker) byPointer() (more, whole bool) {
	if w.bp == 0 {
		return false, true
	}
	bp, ok := w.word(w.bp)
	ip, ok2 := w.word(w.bp + 8)
	if !ok || !ok2 || w.bp < w.sp || w.bp%8 != 0 {
		return false, false
	}
	w.ip, w.sp, w.bp = ip, w.bp+16, bp
	return ip != 0, ip == 0
}

func (w *walker) byTable(r rule) (more, whole bool) {
	var frame uint64
	ok := true
	switch {
	case r.cfaExpr != nil:
		frame, ok = w.evaluate(r.cfaExpr, 0, false)
	case r.reg == regSP:
		frame = w.sp + uint64(r.off)
	case r.reg == regBP:
		frame = w.bp + uint64(r.off)
	default:
		return false, false
	}
	if !ok {
		return false, false
	}
	if r.ip.how == undefined {
		return false, true
	}
	ip, ok := w.value(r.ip, frame, w.ip)
	if !ok || r.ip.how == unchanged {
		return false, false
	}
	bp, ok := w.value(r.bp, frame, w.bp)
	if !ok {
		bp = 0
	}
	sp := frame
	if r.sp.how != unchanged {
		if sp, ok = w.value(r.sp, frame, w.sp); !ok {
			return false, false
		}
	}
	w.ip, w.bp, w.sp = ip, bp, sp
	return ip != 0, ip == 0
}

func (w *walker) register(n uint64) (uint64, bool) {
	switch n {
	case regBP:
		return w.bp, true
	case regSP:
		return w.sp, true
	case regIP:
		return w.at, true
	}
	return 0, false
}

// value is a register of the caller's.
func (w *walker) value(x where, frame, now uint64) (uint64, bool) {
	switch x.how {
	case unchanged:
		return now, true
	case at:
		return w.word(frame + uint64(x.off))
	case is:
		return frame + uint64(x.off), true
	case copied:
		return w.register(uint64(x.off))
	case isExpr:
		return w.evaluate(x.expr, frame, true)
	case atExpr:
		addr, ok := w.evaluate(x.expr, frame, true)
		if !ok {
			return 0, false
		}
		return w.word(addr)
	}
	return 0, false
}

// evaluate runs a DWARF expression as compilers and the C library write them for
// call frames: procedure linkage tables, signal frames, realigned stacks.
// Source: DWARF 5, 2.5.1.
func (w *walker) evaluate(expr []byte, first uint64, pushed bool) (uint64, bool) {
	var s []uint64
	if pushed {
		s = append(s, first)
	}
	c := cursor{b: expr}
	for steps := 0; len(c.b) > 0; steps++ {
		if steps > 256 || len(s) > 64 {
			return 0, false
		}
		var ok bool
		if s, ok = w.operate(c.u8(), &c, s); !ok || c.bad {
			return 0, false
		}
	}
	if len(s) == 0 {
		return 0, false
	}
	return s[len(s)-1], true
}

func (w *walker) operate(op byte, c *cursor, s []uint64) ([]uint64, bool) {
	n := len(s)
	switch {
	case op >= 0x30 && op <= 0x4f: // lit0 to lit31
		return append(s, uint64(op-0x30)), true
	case op >= 0x70 && op <= 0x8f: // breg0 to breg31
		v, ok := w.register(uint64(op - 0x70))
		return append(s, v+uint64(c.sleb())), ok
	case op == 0x08:
		return append(s, c.fixed(1)), true
	case op == 0x09:
		return append(s, uint64(int64(int8(c.fixed(1))))), true
	case op == 0x0a:
		return append(s, c.fixed(2)), true
	case op == 0x0b:
		return append(s, uint64(int64(int16(c.fixed(2))))), true
	case op == 0x0c:
		return append(s, c.fixed(4)), true
	case op == 0x0d:
		return append(s, uint64(int64(int32(c.fixed(4))))), true
	case op == 0x0e, op == 0x0f:
		return append(s, c.fixed(8)), true
	case op == 0x10:
		return append(s, c.uleb()), true
	case op == 0x11:
		return append(s, uint64(c.sleb())), true
	case n < 1:
		return s, false
	case op == 0x06: // deref
		v, ok := w.word(s[n-1])
		s[n-1] = v
		return s, ok
	case op == 0x12: // dup
		return append(s, s[n-1]), true
	case op == 0x13: // drop
		return s[:n-1], true
	case op == 0x1f: // neg
		s[n-1] = -s[n-1]
		return s, true
	case op == 0x20: // not
		s[n-1] = ^s[n-1]
		return s, true
	case op == 0x23: // plus_uconst
		s[n-1] += c.uleb()
		return s, true
	case op == 0x96: // nop
		return s, true
	case n < 2:
		return s, false
	}
	v, ok := binaryOp(op, s[n-2], s[n-1])
	return append(s[:n-2], v), ok
}

func binaryOp(op byte, a, b uint64) (uint64, bool) {
	is := func(yes bool) (uint64, bool) {
		if yes {
			return 1, true
		}
		return 0, true
	}
	switch op {
	case 0x1a:
		return a & b, true
	case 0x1c:
		return a - b, true
	case 0x1e:
		return a * b, true
	case 0x21:
		return a | b, true
	case 0x22:
		return a + b, true
	case 0x24:
		return a << b, true
	case 0x25:
		return a >> b, true
	case 0x27:
		return a ^ b, true
	case 0x29:
		return is(a == b)
	case 0x2a:
		return is(int64(a) >= int64(b))
	case 0x2b:
		return is(int64(a) > int64(b))
	case 0x2c:
		return is(int64(a) <= int64(b))
	case 0x2d:
		return is(int64(a) < int64(b))
	case 0x2e:
		return is(a != b)
	}
	return 0, false
}
