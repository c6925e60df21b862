package jvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// maxPerfData bounds the counters' memory; the default, -XX:PerfDataMemorySize, is
// 32 kB (64 kB since 21). maxEntries bounds what is in it: there are about 250.
const (
	maxPerfData = 1 << 20
	maxEntries  = 1 << 14
)

// counters are what is used of a virtual machine's performance data.
type counters struct {
	frequency   float64 // ticks a second
	invocations uint64  // of all collectors
	ticks       uint64  // spent in them
	collecting  bool    // a collection is under way
}

var errPerfData = errors.New("the performance data are not well-formed")

// parsePerfData reads hsperfdata, version 2: a prologue and entries of names and
// values. Source: src/hotspot/share/runtime/perfMemory.hpp.
func parsePerfData(b []byte) (c counters, err error) {
	if len(b) < 32 || len(b) > maxPerfData {
		return c, fmt.Errorf("%w: %d bytes", errPerfData, len(b))
	}
	var order binary.ByteOrder = binary.BigEndian
	if b[4] == 1 {
		order = binary.LittleEndian
	}
	switch {
	case binary.BigEndian.Uint32(b) != 0xcafec0c0:
		return c, fmt.Errorf("%w: no magic number", errPerfData)
	case b[5] != 2:
		return c, fmt.Errorf("%w: version %d.%d", errPerfData, b[5], b[6])
	case b[7] == 0:
		return c, errors.New("the virtual machine has not started yet")
	}
	at, n := uint64(order.Uint32(b[24:])), order.Uint32(b[28:])
	if n > maxEntries {
		return c, fmt.Errorf("%w: %d entries", errPerfData, n)
	}
	var frequency uint64
	for range n {
		e, err := perfEntry(b, at, order)
		if err != nil {
			return c, err
		}
		at += uint64(e.length)
		switch collector := strings.HasPrefix(e.name, "sun.gc.collector."); {
		case collector && strings.HasSuffix(e.name, ".invocations"):
			c.invocations += e.number
		case collector && strings.HasSuffix(e.name, ".time"):
			c.ticks += e.number
		case e.name == "sun.os.hrt.frequency":
			frequency = e.number
		case e.name == "sun.gc.cause":
			c.collecting = e.text != "" && e.text != "No GC"
		}
	}
	if frequency == 0 || frequency > math.MaxInt64 {
		return c, fmt.Errorf("%w: %d ticks a second", errPerfData, frequency)
	}
	c.frequency = float64(frequency)
	return c, nil
}

// entry is one counter: a number or a text.
type entry struct {
	length uint32
	name   string
	number uint64
	text   string
}

func perfEntry(b []byte, at uint64, order binary.ByteOrder) (e entry, err error) {
	if at+20 > uint64(len(b)) {
		return e, fmt.Errorf("%w: an entry at %d of %d bytes", errPerfData, at, len(b))
	}
	head := b[at:]
	e.length = order.Uint32(head)
	if e.length < 20 || uint64(e.length) > uint64(len(head)) {
		return e, fmt.Errorf("%w: an entry of %d bytes", errPerfData, e.length)
	}
	whole := head[:e.length]
	name, vector, data := order.Uint32(head[4:]), order.Uint32(head[8:]), order.Uint32(head[16:])
	if name > e.length || data > e.length {
		return e, fmt.Errorf("%w: a name at %d and a value at %d of %d bytes", errPerfData, name, data, e.length)
	}
	text := func(b []byte) string {
		b, _, _ = bytes.Cut(b, []byte{0})
		return string(b)
	}
	e.name = text(whole[name:])
	switch kind := head[12]; {
	case kind == 'J' && vector == 0 && len(whole[data:]) >= 8:
		e.number = order.Uint64(whole[data:])
	case kind == 'B':
		e.text = text(whole[data:])
	}
	return e, nil
}

// since are the collections between two readings. Counters that went back are of
// another virtual machine.
func (c counters) since(before counters) (p Pauses, collecting bool, err error) {
	if c.invocations < before.invocations || c.ticks < before.ticks || c.frequency != before.frequency {
		return p, false, errors.New("the counters went back")
	}
	p.Count = int(min(c.invocations-before.invocations, math.MaxInt32))
	p.NS = uint64(min(float64(c.ticks-before.ticks)/c.frequency*1e9, math.MaxInt64/2))
	return p, c.collecting && before.collecting && p.Count == 0, nil
}
