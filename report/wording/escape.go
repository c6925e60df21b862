package wording

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapeSlack makes of a hostile text one line of mrkdwn in which nothing is a link, a mention or
// a format. Slack has escapes for three characters only; the others that would mean
// something become ones that look alike.
func escapeSlack(s string) string {
	s = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "¦", "*", "∗", "`", "'", "~", "∼").Replace(line(s))
	return shorten(s)
}

// escapeText makes of a hostile text one line that no terminal obeys.
func escapeText(s string) string { return shorten(line(s)) }

// line is s on one line without what is no text.
func line(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s))
}

func shorten(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return whole(strings.ToValidUTF8(s[:maxValue], "")) + "…"
}
