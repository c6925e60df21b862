package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// maxText bounds one text, in bytes.
const maxText = 4096

// clean makes a text safe to print on one line: control characters and escape
// sequences are shown as the replacement character, line breaks as blanks, and
// what has no width or reverses the direction of writing is left out. What is
// longer than any text of kmend's is cut.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r', unicode.Is(unicode.Zs, r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Cc, r):
			return '\uFFFD'
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), unicode.Is(unicode.Me, r):
			return -1
		}
		return r
	}, s)
}

// cells is how wide a text is on a terminal, in columns.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += cell(r)
	}
	return n
}

func cell(r rune) int {
	if unicode.Is(unicode.Mn, r) {
		return 0
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// cut shortens a text to n columns, with an ellipsis where something is missing.
func cut(s string, n int) string {
	if cells(s) <= n {
		return s
	}
	used := 0
	for i, r := range s {
		if used += cell(r); used > n-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// pad fills a text up to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-cells(s))) }

// padLeft does the same on the left.
func padLeft(s string, n int) string { return strings.Repeat(" ", max(0, n-cells(s))) + s }

// escapeJSON escapes what encoding/json leaves as it is although terminals may
// obey it: DEL, the C1 controls and the format characters. Outside of strings
// JSON has only ASCII, so that every such character is inside of one.
func escapeJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == 0x7f || r >= 0x80 && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r)) {
			if r > 0xffff {
				r -= 0x10000
				fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
				continue
			}
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteString(string(utf8.AppendRune(nil, r)))
	}
	return b.String()
}
