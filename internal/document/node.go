package document

import (
	"fmt"
	"strings"
	"unicode"
)

// Document is one YAML document of a file.
type Document struct {
	File string
	Root *Node

	lines []string
}

// Node is one value of a document and where it stands.
type Node struct {
	Pos
	doc    *Document
	value  any // nil, bool, int64, uint64, float64, string; or as shape says
	shape  shape
	quoted bool // the value starts after the quote that Pos points at
	block  bool // the value starts on the line after Pos
	keys   []Pos
	names  []string
	items  []*Node // of a list, and the values of a mapping
}

type shape int

const (
	scalar shape = iota
	mapping
	list
)

// Value is the node as JSON would decode it: nil, bool, int64, uint64, float64,
// string, []any or map[string]any.
func (n *Node) Value() any {
	switch n.shape {
	case mapping:
		m := make(map[string]any, len(n.items))
		for i, item := range n.items {
			m[n.names[i]] = item.Value()
		}
		return m
	case list:
		l := make([]any, len(n.items))
		for i, item := range n.items {
			l[i] = item.Value()
		}
		return l
	}
	return n.value
}

// size counts the nodes from n on.
func (n *Node) size() int {
	size := 1
	for _, item := range n.items {
		size += item.size()
	}
	return size
}

// At is the node at a path of field names and indexes ("steps", "0", "with");
// where the path leaves the document, the last node it reaches, and false.
func (n *Node) At(path ...string) (*Node, bool) {
	for _, p := range path {
		next := n.child(p)
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

func (n *Node) child(name string) *Node {
	for i, item := range n.items {
		if n.shape == mapping && n.names[i] == name || n.shape == list && fmt.Sprint(i) == name {
			return item
		}
	}
	return nil
}

// key is where the field name of a mapping stands.
func (n *Node) key(name string) Pos {
	for i := range n.names {
		if n.names[i] == name {
			return n.keys[i]
		}
	}
	return n.Pos
}

// Fields calls f for each field of a mapping, in the order of the file.
func (n *Node) Fields(f func(name string, value *Node)) {
	for i, name := range n.names {
		f(name, n.items[i])
	}
}

// IsMapping reports whether the node has fields.
func (n *Node) IsMapping() bool { return n.shape == mapping }

// Texts calls f for each text in a list or a mapping, at any depth.
func (n *Node) Texts(f func(text string, at *Node)) {
	for _, item := range n.items {
		if text, ok := item.Text(); ok {
			f(text, item)
		}
		item.Texts(f)
	}
}

// Text is the value of a string node; ok is false for any other.
func (n *Node) Text() (text string, ok bool) {
	text, ok = n.value.(string)
	return text, ok && n.shape == scalar
}

// Errorf is an error at the node.
func (n *Node) Errorf(format string, args ...any) *Error {
	return n.doc.errorf(n.Pos, format, args...)
}

// ErrorfInside is an error at a character of a string node's value: offset
// counts the characters of the value, wherever line breaks, quotes, escapes and
// indentation put them in the file.
func (n *Node) ErrorfInside(offset int, format string, args ...any) *Error {
	return n.doc.errorf(n.inside(offset), format, args...)
}

func (d *Document) errorf(pos Pos, format string, args ...any) *Error {
	e := &Error{File: d.File, Pos: pos, Message: fmt.Sprintf(format, args...)}
	if pos.Line >= 1 && pos.Line <= len(d.lines) {
		e.Source = strings.TrimRight(d.lines[pos.Line-1], "\r")
	}
	return e
}

// inside walks the value and the source side by side. White space of the value
// may be any white space of the source (folding), and source characters that
// the value lacks are quotes and escapes.
func (n *Node) inside(offset int) Pos {
	text, ok := n.Text()
	if !ok {
		return n.Pos
	}
	c := cursor{lines: n.doc.lines, line: n.Line - 1, col: n.Column - 1}
	if n.quoted {
		c.col++
	}
	if n.block {
		c.line, c.col = c.line+1, 0
	}
	at := n.Pos
	for i, r := range []rune(text) {
		if i > offset {
			break
		}
		if unicode.IsSpace(r) {
			at = Pos{c.line + 1, c.col + 1}
			continue
		}
		if !c.seek(r) {
			return at
		}
		at = Pos{c.line + 1, c.col + 1}
		c.col++
		if i+1 == offset && i+1 == len([]rune(text)) { // just behind the last character
			at.Column++
		}
	}
	return at
}

// cursor is a place in the source, counted from 0.
type cursor struct {
	lines     []string
	line, col int
}

// seek moves to the next r and reports whether there is one.
func (c *cursor) seek(r rune) bool {
	for ; c.line < len(c.lines); c.line, c.col = c.line+1, 0 {
		for runes := []rune(c.lines[c.line]); c.col < len(runes); c.col++ {
			if runes[c.col] == r {
				return true
			}
		}
	}
	return false
}
