package action

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// CPUs is an amount of CPU time in thousandths of one CPU. As a parameter it is
// a number of CPUs (2, 0.5) or the text of one ("2", "0.5", "500m").
type CPUs int64

// ParseCPUs reads "2", "0.5" or "500m". It must be more than 0, at most 100000
// CPUs and a whole number of thousandths.
func ParseCPUs(s string) (CPUs, error) {
	digits, scale := s, 1000.0
	if cut, ok := strings.CutSuffix(s, "m"); ok {
		digits, scale = cut, 1
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number of CPUs; write for example 2, 0.5 or 500m", s)
	}
	milli := v * scale
	if milli <= 0 || milli > 1e8 || math.Abs(milli-math.Round(milli)) > 1e-6 {
		return 0, fmt.Errorf("%q CPUs is out of bounds; allowed: 0.001 to 100000 in steps of 0.001", s)
	}
	return CPUs(math.Round(milli)), nil
}

// Milli is the amount in thousandths of one CPU.
func (c CPUs) Milli() int64 { return int64(c) }

// String is the form for people: "0.3 CPU".
func (c CPUs) String() string { return c.number() + " CPU" }

func (c CPUs) number() string { return strconv.FormatFloat(float64(c)/1000, 'f', -1, 64) }

// UnmarshalText reads the forms of ParseCPUs.
func (c *CPUs) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCPUs(string(b))
	return err
}

// UnmarshalJSON reads a number, or a string in a form of ParseCPUs.
func (c *CPUs) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		return c.UnmarshalText([]byte(v))
	case float64:
		return c.UnmarshalText(b)
	}
	return fmt.Errorf("%s is not a number of CPUs; write for example 2, 0.5 or 500m", b)
}

// MarshalJSON writes the number of CPUs.
func (c CPUs) MarshalJSON() ([]byte, error) { return []byte(c.number()), nil }

// JSONSchema describes both forms to the editors that complete runbooks.
func (CPUs) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Description: "An amount of CPU: a number of CPUs (2, 0.5) or its text (\"2\", \"500m\").",
		OneOf: []*jsonschema.Schema{
			{Type: "number", ExclusiveMinimum: json.Number("0"), Maximum: json.Number("100000")},
			{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?m?$`},
		},
	}
}
