package systemd

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/kmend/kmend/remediate/action"
)

// Amount is a number of CPUs or of bytes, as its property wants it: a number, or
// text such as "500m" (CPUs), "512M" or "2G" (bytes, of 1024).
type Amount string

// UnmarshalJSON reads a number or a text.
func (a *Amount) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*a = Amount(text)
		return nil
	}
	if _, err := strconv.ParseFloat(string(b), 64); err != nil {
		return fmt.Errorf("%s is not an amount; write for example 2, \"500m\" or \"2G\"", b)
	}
	*a = Amount(b)
	return nil
}

// JSONSchema describes both forms to the editors that complete runbooks.
func (Amount) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Description: "Of CPUQuota a number of CPUs (2, \"500m\"), of MemoryHigh and MemoryMax a number of bytes (\"512M\", \"2G\").",
		OneOf: []*jsonschema.Schema{
			{Type: "number", ExclusiveMinimum: json.Number("0")},
			{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?[mKMGT]?$`},
		},
	}
}

// infinity is how systemd says that there is no limit.
const infinity = math.MaxUint64

// property is one that systemd.set_property knows: how systemd calls it on D-Bus,
// and what its numbers mean.
type property struct {
	dbus  string
	parse func(Amount) (uint64, error)
	show  func(uint64) string
	bound func(Options) (uint64, string) // the most that this machine has, and its name
}

// propertyOf is the property of a name.
func propertyOf(name string) (property, error) {
	memory := property{dbus: name, parse: byteCount, show: showBytes, bound: func(o Options) (uint64, string) { return o.Memory, "the machine's memory" }}
	switch name {
	case "CPUQuota":
		return property{dbus: "CPUQuotaPerSecUSec", parse: cpuTime, show: showCPU, bound: func(o Options) (uint64, string) {
			return uint64(o.CPUs) * second, "the machine's CPUs"
		}}, nil
	case "MemoryHigh", "MemoryMax":
		return memory, nil
	}
	return property{}, fmt.Errorf("with.property is %q; want one of CPUQuota, MemoryHigh, MemoryMax", name)
}

// second is one CPU: µs of CPU time a second.
const second = 1_000_000

func cpuTime(a Amount) (uint64, error) {
	c, err := action.ParseCPUs(string(a))
	if err != nil {
		return 0, err
	}
	return uint64(c.Milli()) * (second / 1000), nil
}

func showCPU(v uint64) string { return action.CPUs(v / (second / 1000)).String() }

func byteCount(a Amount) (uint64, error) {
	text, shift := string(a), 0
	for i, suffix := range []string{"K", "M", "G", "T"} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			text, shift = cut, 10*(i+1)
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || v <= 0 || v*math.Pow(2, float64(shift)) > 1<<50 {
		return 0, fmt.Errorf("%q is not a number of bytes; write for example 512M or 2G; at most 1024T", a)
	}
	return uint64(v * math.Pow(2, float64(shift))), nil
}

func showBytes(v uint64) string {
	for i, suffix := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if unit := uint64(1) << (40 - 10*i); v >= unit {
			return strconv.FormatFloat(math.Round(float64(v)/float64(unit)*100)/100, 'f', -1, 64) + " " + suffix
		}
	}
	return strconv.FormatUint(v, 10) + " B"
}
