package report

import (
	"fmt"
	"io"
	"strings"
)

// page collects lines. Every text goes through span and is cleaned there.
type page struct {
	b     strings.Builder
	width int
	color bool
}

func newPage(opts Options) *page {
	width := opts.Width
	if width == 0 {
		width = DefaultWidth
	}
	return &page{width: min(max(width, MinWidth), maxWidth), color: opts.Color}
}

func (p *page) flush(w io.Writer) error {
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// style is the parameter of an ANSI SGR sequence.
type style string

const (
	none   style = ""
	strong style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func (s style) bold() style {
	if s == none {
		return strong
	}
	return "1;" + s
}

// span is a text of one style.
type span struct {
	text  string
	style style
}

func plain(text string) span          { return span{text, none} }
func bold(text string) span           { return span{text, strong} }
func dim(text string) span            { return span{text, faint} }
func in(s style, text string) span    { return span{text, s} }
func title(text string, s style) span { return span{strings.ToUpper(words(text)), s.bold()} }
func words(name string) string        { return strings.ReplaceAll(name, "_", " ") }

func (p *page) blank() { p.b.WriteByte('\n') }

// line writes the spans on one line, cut at the page's width.
func (p *page) line(spans ...span) {
	var line strings.Builder
	room := p.width
	for i, s := range spans {
		text := clean(s.text)
		if i == len(spans)-1 || cells(text) > room {
			text = strings.TrimRight(text, " ")
		}
		if text = cut(text, room); text == "" {
			continue
		}
		room -= cells(text)
		line.WriteString(p.paint(text, s.style))
		if room <= 0 {
			break
		}
	}
	p.b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// heading writes the first line of a report, with the incident's id at its end,
// and a rule below it.
func (p *page) heading(word span, what, id string) {
	what, id = clean(what), clean(id)
	gap := p.width - cells(word.text) - 2 - cells(what) - cells(id)
	if gap < 2 {
		p.line(word, plain("  "), bold(what))
		p.line(dim(id))
	} else {
		p.line(word, plain("  "), bold(what), plain(strings.Repeat(" ", gap)), dim(id))
	}
	p.line(dim(strings.Repeat("─", p.width)))
}

// paint wraps a cleaned text into its colour.
func (p *page) paint(text string, s style) string {
	if !p.color || s == none {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// gutter is the width of the column of labels.
const gutter = 11

// field writes a label and a text beside it, over as many lines as it takes, at
// most most of them (0: any number).
func (p *page) field(label string, most int, spans ...span) {
	p.flow(pad(label, gutter), most, spans...)
}

// flow writes spans after a prefix, wrapped at blanks and hanging below the first line.
func (p *page) flow(prefix string, most int, spans ...span) {
	indent := cells(prefix)
	if indent > p.width/2 { // too narrow to stand side by side
		p.line(dim(prefix))
		prefix, indent = "    ", 4
	}
	lines := wrap(spans, p.width-indent)
	if most > 0 && len(lines) > most {
		lines = lines[:most]
		last := &lines[most-1]
		*last = append(*last, plain(" …"))
		if over := columns(*last) - (p.width - indent); over > 0 {
			tail := &(*last)[len(*last)-2]
			tail.text = cut(tail.text, max(1, cells(tail.text)-over-1))
			*last = (*last)[:len(*last)-1]
		}
	}
	head := dim(prefix)
	for _, line := range lines {
		p.line(append([]span{head}, line...)...)
		head = plain(strings.Repeat(" ", indent))
	}
}

func columns(spans []span) (n int) {
	for _, s := range spans {
		n += cells(s.text)
	}
	return n
}

// wrap breaks spans into lines of at most room columns: at blanks, and inside a
// word only where it is longer than a line.
func wrap(spans []span, room int) [][]span {
	var lines [][]span
	var line []span
	used := 0
	newline := func() { lines, line, used = append(lines, line), nil, 0 }
	for _, s := range spans {
		text := clean(s.text)
		for text != "" {
			blanks := len(text) - len(strings.TrimLeft(text, " "))
			end := strings.IndexByte(text[blanks:], ' ')
			if end < 0 {
				end = len(text) - blanks
			}
			gap, word := text[:blanks], text[blanks:blanks+end]
			text = text[blanks+end:]
			if used > 0 && used+len(gap)+cells(word) > room {
				newline()
			}
			if used == 0 && len(lines) > 0 {
				gap = ""
			}
			for used == 0 && cells(word) > room {
				head := strings.TrimSuffix(cut(word, room+1), "…")
				line, word = []span{{head, s.style}}, word[len(head):]
				newline()
			}
			line = append(line, span{gap + word, s.style})
			used += len(gap) + cells(word)
		}
	}
	return append(lines, line)
}
