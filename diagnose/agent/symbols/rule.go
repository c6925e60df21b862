package symbols

import (
	"debug/elf"
	"slices"
)

// DWARF's numbers of the x86_64 registers that are known of a stack.
const (
	regBP = 6
	regSP = 7
	regIP = 16
)

// where a caller's register is.
type where struct {
	how  how
	off  int64
	expr []byte
}

type how byte

const (
	unchanged  how = iota
	undefined      // it has none
	at             // in memory, off from the frame
	is             // the frame's address and off
	copied         // in register off
	atExpr         // in memory where expr says
	isExpr         // what expr says
	unreadable     // in a register that is not known
)

// rule says how to get from one address's frame to its caller's.
type rule struct {
	kind ruleKind
	// by the table: the frame's address (CFA) is register reg plus off, or cfaExpr
	reg        uint64
	off        int64
	cfaExpr    []byte
	ip, bp, sp where
	signal     bool // the caller was interrupted, and did not call
	// of Go: how far SP is below the return address
	delta         int64
	top, switches bool
}

type ruleKind byte

const (
	byPointer ruleKind = iota // nothing is known: hope for a frame pointer
	byTable
	byGo
)

// ruleFor finds the rule of an address of the file; known ones are kept.
func (f *file) ruleFor(vaddr uint64) rule {
	if r, ok := f.rules[vaddr]; ok {
		return r
	}
	r := f.makeRule(vaddr)
	if len(f.rules) >= maxRules {
		clear(f.rules)
	}
	f.rules[vaddr] = r
	return r
}

func (f *file) makeRule(vaddr uint64) rule {
	var r rule
	r.top, r.switches = f.gotab.ends(f, vaddr)
	if f.machine != elf.EM_X86_64 { // the others' registers are not all recorded
		return r
	}
	if delta, ok := f.gotab.spDelta(f, vaddr); ok {
		r.kind, r.delta = byGo, delta
		return r
	}
	e, err := f.entryOf(vaddr)
	if err != nil {
		return r
	}
	if t, ok := e.run(vaddr); ok {
		t.top, t.switches = r.top, r.switches
		return t
	}
	return r
}

const maxRemembered = 16

// run executes the entry's program up to vaddr. Source: DWARF 5, 6.4.2.
func (e entry) run(vaddr uint64) (rule, bool) {
	m := machine{e: e, pc: e.start, until: vaddr}
	if !m.execute(cursor{b: e.initial}) {
		return rule{}, false
	}
	m.first = m.row
	if !m.execute(cursor{b: e.program, at: e.programAt}) {
		return rule{}, false
	}
	r := m.row
	r.kind, r.signal = byTable, e.signal
	return r, true
}

type machine struct {
	e          entry
	pc, until  uint64
	row, first rule
	remembered []rule
}

func (m *machine) set(reg uint64, w where) {
	if w.how == copied && w.off != regBP && w.off != regSP && w.off != regIP {
		w.how = unreadable
	}
	switch reg {
	case m.e.returnReg:
		m.row.ip = w
	case regBP:
		m.row.bp = w
	case regSP:
		m.row.sp = w
	}
}

func (m *machine) restore(reg uint64) {
	switch reg {
	case m.e.returnReg:
		m.row.ip = m.first.ip
	case regBP:
		m.row.bp = m.first.bp
	case regSP:
		m.row.sp = m.first.sp
	}
}

// advance reports whether the address sought is still ahead.
func (m *machine) advance(delta uint64) bool {
	m.pc += delta * m.e.codeAlign
	return m.pc <= m.until
}

// execute reports whether every instruction was understood.
func (m *machine) execute(c cursor) bool {
	for len(c.b) > 0 && !c.bad {
		op := c.u8()
		low := uint64(op & 0x3f)
		switch op & 0xc0 {
		case 0x40: // DW_CFA_advance_loc
			if !m.advance(low) {
				return true
			}
			continue
		case 0x80: // offset
			m.set(low, where{how: at, off: int64(c.uleb()) * m.e.dataAlign})
			continue
		case 0xc0: // restore
			m.restore(low)
			continue
		}
		switch op {
		case 0x00: // nop
		case 0x01: // set_loc
			if m.pc = c.pointer(m.e.pointers); m.pc > m.until {
				return !c.bad
			}
		case 0x02, 0x03, 0x04: // advance_loc1, 2, 4
			if !m.advance(c.fixed(1 << (op - 2))) {
				return !c.bad
			}
		default:
			if !m.define(op, &c) {
				return false
			}
		}
	}
	return !c.bad
}

func (m *machine) define(op byte, c *cursor) bool {
	align := m.e.dataAlign
	switch op {
	case 0x05: // offset_extended
		m.set(c.uleb(), where{how: at, off: int64(c.uleb()) * align})
	case 0x06: // restore_extended
		m.restore(c.uleb())
	case 0x07: // undefined
		m.set(c.uleb(), where{how: undefined})
	case 0x08: // same_value
		m.set(c.uleb(), where{})
	case 0x09: // register
		m.set(c.uleb(), where{how: copied, off: int64(c.uleb())})
	case 0x0a: // remember_state
		if len(m.remembered) >= maxRemembered {
			return false
		}
		m.remembered = append(m.remembered, m.row)
	case 0x0b: // restore_state
		n := len(m.remembered)
		if n == 0 {
			return false
		}
		m.row, m.remembered = m.remembered[n-1], m.remembered[:n-1]
	case 0x0c: // def_cfa
		m.row.reg, m.row.off, m.row.cfaExpr = c.uleb(), int64(c.uleb()), nil
	case 0x0d: // def_cfa_register
		m.row.reg = c.uleb()
	case 0x0e: // def_cfa_offset
		m.row.off = int64(c.uleb())
	case 0x0f: // def_cfa_expression
		m.row.cfaExpr = slices.Clone(c.block())
	case 0x10: // expression
		m.set(c.uleb(), where{how: atExpr, expr: slices.Clone(c.block())})
	case 0x11: // offset_extended_sf
		m.set(c.uleb(), where{how: at, off: c.sleb() * align})
	case 0x12: // def_cfa_sf
		m.row.reg, m.row.off, m.row.cfaExpr = c.uleb(), c.sleb()*align, nil
	case 0x13: // def_cfa_offset_sf
		m.row.off = c.sleb() * align
	case 0x14: // val_offset
		m.set(c.uleb(), where{how: is, off: int64(c.uleb()) * align})
	case 0x15: // val_offset_sf
		m.set(c.uleb(), where{how: is, off: c.sleb() * align})
	case 0x16: // val_expression
		m.set(c.uleb(), where{how: isExpr, expr: slices.Clone(c.block())})
	case 0x2e: // GNU_args_size
		c.uleb()
	case 0x2f: // GNU_negative_offset_extended
		m.set(c.uleb(), where{how: at, off: -int64(c.uleb()) * align})
	default:
		return false
	}
	return true
}
