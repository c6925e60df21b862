// Package document reads the YAML documents that people write for kmend, before
// the flow begins: runbooks and policies today. It knows where every value
// stands in its file, so that each error names the file, the line and the
// column, and shows the source line with a caret below it. What a document may
// hold is said once, by a Go struct; the JSON Schema for editors and the checks
// here both come from it.
package document

import (
	"fmt"
	"strings"
	"unicode"
)

// Pos is a place in a file: line and column count from 1, columns in characters.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// Error is one thing that is wrong in one place of a file.
type Error struct {
	File string `json:"file"`
	Pos
	Source  string `json:"source,omitempty"` // the line, as it stands in the file
	Message string `json:"message"`
}

// Error is "FILE:LINE:COLUMN: message", the source line and a caret.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	head := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source == "" {
		return head
	}
	return fmt.Sprintf("%s\n%5d | %s\n      | %s^", head, e.Line, printable(e.Source), e.indent())
}

// indent is white space as wide as the source before the column.
func (e *Error) indent() string {
	var b strings.Builder
	for i, r := range []rune(e.Source) {
		if i >= e.Column-1 {
			break
		}
		if r == '\t' {
			b.WriteRune('\t')
		} else {
			b.WriteRune(' ')
		}
	}
	return b.String()
}

// printable keeps a file's control characters away from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// Errors is everything that is wrong, in the order of the files.
type Errors []*Error

func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives the errors one by one to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}
