package doctor

import (
	"fmt"
	"io"
	"strings"
)

const (
	green = "\x1b[32m"
	red   = "\x1b[31;1m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// widest is how wide the column of the names may become.
const widest = 40

// Text prints a report: one line a check, those of a group together, what to do
// below it. What a terminal could obey is not printed.
func Text(w io.Writer, r Report, color bool) error {
	width := 0
	for _, l := range r.Lines {
		width = min(max(width, len([]rune(l.Name))), widest)
	}
	var b strings.Builder
	todo := 0
	for _, group := range groups(r.Lines) {
		fmt.Fprintf(&b, "%s\n", printable(group))
		for _, l := range r.Lines {
			if l.Group != group {
				continue
			}
			fmt.Fprintf(&b, "  %s  %-*s  %s\n", mark(l.Status, color), width, printable(l.Name), printable(l.Found))
			if l.Status == Todo {
				todo++
				fmt.Fprintf(&b, "        %-*s  -> %s\n", width, "", printable(l.Todo))
			}
		}
	}
	switch todo {
	case 0:
		b.WriteString("nothing is to be done\n")
	case 1:
		b.WriteString("1 thing is to be done\n")
	default:
		fmt.Fprintf(&b, "%d things are to be done\n", todo)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// groups are those of the lines, in the order in which they come first.
func groups(lines []Line) (names []string) {
	seen := map[string]bool{}
	for _, l := range lines {
		if !seen[l.Group] {
			names, seen[l.Group] = append(names, l.Group), true
		}
	}
	return names
}

func mark(s Status, color bool) string {
	text, with := fmt.Sprintf("%-4s", s), ""
	switch s {
	case OK:
		with = green
	case Todo:
		text, with = "TODO", red
	case Off:
		text, with = "-   ", dim
	}
	if !color {
		return text
	}
	return with + text + plain
}

// printable is one line without control characters: what others answer is in it.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0:
			return '\uFFFD'
		}
		return c
	}, s)
}
