// Package report is the end of the flow: an incident as a person at 3 a.m. wants
// to read it, or as JSON for a program. It only formats what the stages before
// it have recorded; text that came from outside (alerts, names of threads and
// cgroups) loses everything that a terminal could obey.
package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kmend/kmend/incident"
)

// Options say for what kind of paper a text is written.
type Options struct {
	Color bool // ANSI colours
	Width int  // characters in a line; 0 is DefaultWidth, less than MinWidth is MinWidth
}

// Bounds of Options.Width.
const (
	DefaultWidth = 80
	MinWidth     = 40
	maxWidth     = 120 // longer lines are hard to read
)

// DefaultOptions are no colours and 80 characters.
func DefaultOptions() Options { return Options{Width: DefaultWidth} }

// Text writes the report of an incident, open or closed.
func Text(w io.Writer, inc incident.Incident, opts Options) error {
	p := newPage(opts)
	p.incident(inc)
	return p.flush(w)
}

// Diagnosis writes a diagnosis alone.
func Diagnosis(w io.Writer, d incident.Diagnosis, opts Options) error {
	p := newPage(opts)
	p.heading(title(string(d.Verdict), verdictStyle(d.Verdict)), d.Target.String(), "")
	p.diagnosis(d)
	p.account(d)
	return p.flush(w)
}

// JSON writes the incident as indented JSON. Characters that a terminal could
// obey are escaped.
func JSON(w io.Writer, inc incident.Incident) error {
	text, err := json.MarshalIndent(inc, "", "  ")
	if err != nil {
		return fmt.Errorf("writing incident %s as JSON: %w", inc.ID, err)
	}
	if _, err := io.WriteString(w, escapeJSON(string(text))+"\n"); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
