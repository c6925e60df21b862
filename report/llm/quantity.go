package llm

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// quantity is a number as a text writes it.
type quantity struct {
	value  float64 // in the base of its dimension: ms, bytes, a share of 1
	step   float64 // of the last digit that was written, in the same base
	digits int     // significant ones, the zeros at the end of a whole number left out
	dim    string  // "time", "size", "share"; empty: it counts something
	noun   string  // what it counts
	scale  float64 // of its unit
	second string  // the link to the number before it, if it is the second of a pair
}

type unit struct {
	dim   string
	scale float64
}

var units = map[string]unit{
	"ns": {"time", 1e-6}, "µs": {"time", 1e-3}, "us": {"time", 1e-3}, "ms": {"time", 1},
	"millisecond": {"time", 1}, "milliseconds": {"time", 1}, "microseconds": {"time", 1e-3},
	"s": {"time", 1e3}, "sec": {"time", 1e3}, "second": {"time", 1e3}, "seconds": {"time", 1e3},
	"min": {"time", 6e4}, "minute": {"time", 6e4}, "minutes": {"time", 6e4}, "h": {"time", 3.6e6}, "hour": {"time", 3.6e6}, "hours": {"time", 3.6e6},
	"b": {"size", 1}, "byte": {"size", 1}, "bytes": {"size", 1},
	"kib": {"size", 1 << 10}, "mib": {"size", 1 << 20}, "gib": {"size", 1 << 30}, "tib": {"size", 1 << 40},
	"kb": {"size", 1e3}, "mb": {"size", 1e6}, "gb": {"size", 1e9}, "tb": {"size", 1e12},
	"%": {"share", 0.01}, "percent": {"share", 0.01},
}

var numeral = regexp.MustCompile(`^[~≈<>±+(]*(-?\d{1,3}(?:,\d{3})+|-?\d+)(\.\d+)?(%|[a-zA-Zµ]+)?$`)

// parseQuantity reads a number with its unit, which may be the next word: used
// says that it is.
func parseQuantity(word, next string) (q quantity, used int, ok bool) {
	m := numeral.FindStringSubmatch(strings.TrimRight(word, `.,;:!?)"'”`))
	if m == nil {
		return q, 0, false
	}
	whole, fraction := strings.ReplaceAll(m[1], ",", ""), m[2]
	v, err := strconv.ParseFloat(whole+fraction, 64)
	if err != nil {
		return q, 0, false
	}
	q = quantity{value: v, step: 1, scale: 1, digits: len(strings.TrimLeft(strings.TrimLeft(whole, "-")+strings.TrimPrefix(fraction, "."), "0"))}
	if fraction != "" {
		q.step = math.Pow(10, -float64(len(fraction)-1))
	} else if zeros := len(whole) - len(strings.TrimRight(whole, "0")); v != 0 && zeros > 0 {
		q.step, q.digits = math.Pow(10, float64(zeros)), q.digits-zeros
	}
	name := strings.ToLower(m[3])
	if name == "" {
		name, used = strings.ToLower(strings.Trim(next, edges[:strings.IndexByte(edges, '%')])), 1
		if next == "%" {
			name = "%"
		}
	}
	u, known := units[name]
	switch {
	case known:
		q = q.in(u.dim, u.scale)
	case m[3] != "":
		return quantity{}, 0, false // 3a9f is a name
	default:
		used = 0
	}
	return q, used, true
}

func (q quantity) in(dim string, scale float64) quantity {
	q.dim, q.scale, q.value, q.step = dim, scale, q.value*scale, q.step*scale
	return q
}

// takeUnit gives the first number of "3 of 4 ms" the unit of the second.
func (q *quantity) takeUnit(of quantity) {
	if q.dim == "" && q.noun == "" {
		*q = q.in(of.dim, of.scale)
		q.noun = of.noun
	}
}

// saysSame reports whether q is the number of a fact, or that number rounded to
// the digits of q: to two at least, or to one where that changes it by 5% at most.
func (q quantity) saysSame(of quantity) bool {
	if q.dim != of.dim || q.dim == "" && q.noun != "" && of.noun != "" && q.noun != of.noun {
		return false
	}
	off := math.Abs(q.value - of.value)
	if off <= 1e-9*math.Abs(of.value) {
		return true
	}
	if q.value == 0 || off > q.step/2*(1+1e-9) {
		return false
	}
	return q.digits >= 2 || off <= 0.05*math.Abs(of.value)
}
