// Package wording is how operators put the end of the flow into words of their own: templates
// of Go's text/template over View, a documented view of an incident. docs/templates.md
// has its fields.
//
// What a template says itself is the operator's. Every value that it prints is hostile and comes
// escaped for where it is printed, on one line and bounded, so that no label makes a link, a
// mention or a line of its own. Only functions that are bounded are there, and loops
// only over the lists of View: a template ends, whatever it says.
package wording
