// Package doctor runs the checks of an installation side by side, each bounded in
// time, and prints what they found: one line a check, ok or what to do. It stands
// beside the flow. internal/app knows what there is to check of a configuration;
// cmd/kmend adds what can be seen from a laptop.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// Status is what a line says.
type Status string

const (
	OK   Status = "ok"
	Todo Status = "todo" // something is to be done
	// Off: it is not configured, or it cannot be known. Nothing is to be done.
	Off Status = "off"
)

// Line is what was found out about one thing.
type Line struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Todo   string `json:"todo,omitempty"` // what to do, with Todo
}

// Fine is a line that is ok.
func Fine(name, found string, args ...any) Line {
	return Line{Name: name, Status: OK, Found: fmt.Sprintf(found, args...)}
}

// Wrong is a line with something to do.
func Wrong(name, todo, found string, args ...any) Line {
	return Line{Name: name, Status: Todo, Found: fmt.Sprintf(found, args...), Todo: todo}
}

// Absent is a line about what is not configured or cannot be known.
func Absent(name, found string, args ...any) Line {
	return Line{Name: name, Status: Off, Found: fmt.Sprintf(found, args...)}
}

// Check is one question. Its lines without a group or a name get its own.
type Check struct {
	Group, Name string
	Limit       time.Duration // 0: DefaultLimit
	Run         func(ctx context.Context) []Line
}

// DefaultLimit is how long a check may take that does not say.
const DefaultLimit = 10 * time.Second

// Report is the answer of all checks.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	OK         bool      `json:"ok"` // nothing is to be done
	CheckedAt  time.Time `json:"checkedAt"`
	Lines      []Line    `json:"lines"`
}

// NewReport makes one of lines, in their order.
func NewReport(at time.Time, lines []Line) Report {
	r := Report{APIVersion: incident.APIVersion, Kind: "DoctorReport", OK: true, CheckedAt: at.UTC(), Lines: lines}
	for _, l := range lines {
		r.OK = r.OK && l.Status != Todo
	}
	return r
}
