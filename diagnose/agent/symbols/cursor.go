package symbols

import "encoding/binary"

// cursor reads DWARF's numbers. After its end it gives zeros and is bad.
type cursor struct {
	b   []byte
	at  uint64 // address of b[0]
	bad bool
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	c.at += n
	return b
}

func (c *cursor) fixed(n uint64) uint64 {
	var b [8]byte
	copy(b[:], c.take(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (c *cursor) u8() byte { return byte(c.fixed(1)) }

func (c *cursor) leb() (v uint64, shift uint, last byte) {
	for {
		last = c.u8()
		if shift < 64 {
			v |= uint64(last&0x7f) << shift
		}
		shift += 7
		if last < 0x80 || c.bad {
			return v, shift, last
		}
	}
}

func (c *cursor) uleb() uint64 {
	v, _, _ := c.leb()
	return v
}

func (c *cursor) sleb() int64 {
	v, shift, last := c.leb()
	if last&0x40 != 0 && shift < 64 {
		v |= ^uint64(0) << shift
	}
	return int64(v)
}

// block is a length and as many bytes.
func (c *cursor) block() []byte { return c.take(c.uleb()) }

// text is a string that ends with 0.
func (c *cursor) text() string {
	for i, b := range c.b {
		if b == 0 {
			s := string(c.b[:i])
			c.take(uint64(i + 1))
			return s
		}
	}
	c.bad = true
	return ""
}

// pointer is encoded as DW_EH_PE says; what needs more than the place of the pointer
// itself is bad. Source: Linux Standard Base, .eh_frame.
func (c *cursor) pointer(enc byte) uint64 {
	base := uint64(0)
	switch enc & 0x70 {
	case 0:
	case 0x10: // DW_EH_PE_pcrel
		base = c.at
	default:
		c.bad = true
	}
	var v uint64
	switch enc & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = c.fixed(8)
	case 0x01:
		v = c.uleb()
	case 0x02:
		v = c.fixed(2)
	case 0x03:
		v = c.fixed(4)
	case 0x09:
		v = uint64(c.sleb())
	case 0x0a:
		v = uint64(int64(int16(c.fixed(2))))
	case 0x0b:
		v = uint64(int64(int32(c.fixed(4))))
	default:
		c.bad = true
	}
	return v + base
}
