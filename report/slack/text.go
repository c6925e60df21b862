package slack

import (
	"strings"
	"unicode"

	"github.com/slack-go/slack"
)

// Bounds of Slack's Block Kit, in characters; ours are a little less, and count
// bytes, which is never less than what Slack counts.
const (
	maxHeader  = 140
	maxSection = 2900
	maxCode    = 300
	maxLine    = 600
)

// clean is s without what is no text: control and formatting characters, among
// them those that turn the direction of writing round. Line breaks become spaces.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r', unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// cut is s with at most limit bytes, the mark of what is missing among them. It
// does not cut a character or an escape in two.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	end := 0
	for i := range s {
		if i > limit-len(mark) {
			break
		}
		end = i
	}
	if amp := strings.LastIndexByte(s[:end], '&'); amp >= 0 && !strings.Contains(s[amp:end], ";") {
		end = amp
	}
	return s[:end] + mark
}

// escaped writes the three characters that Slack reads as markup.
func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// text is hostile text for the plain_text of a block.
func text(s string, limit int) string { return cut(escaped(clean(s)), limit) }

// code is hostile text inside of a line of mrkdwn: nothing in it is markup.
func code(s string) string {
	s = strings.ReplaceAll(clean(s), "`", "'")
	if strings.TrimSpace(s) == "" {
		s = "-"
	}
	return "`" + cut(escaped(s), maxCode) + "`"
}

// plain is a section of hostile text, one string a line.
func plain(lines ...string) slack.Block {
	for i, l := range lines {
		lines[i] = text(l, maxLine)
	}
	return section(slack.PlainTextType, lines)
}

// marked is a section of mrkdwn, one string a line: kmend's own words and code.
func marked(lines ...string) slack.Block { return section(slack.MarkdownType, lines) }

func section(kind string, lines []string) slack.Block {
	t := slack.NewTextBlockObject(kind, fit(lines), false, kind == slack.MarkdownType)
	return slack.NewSectionBlock(t, nil, nil)
}

// fit joins lines as far as they fit into a section, and says that more are missing.
func fit(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if b.Len()+len(l) > maxSection {
			b.WriteString("\n…")
			break
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l)
	}
	if strings.TrimSpace(b.String()) == "" {
		return "-" // Slack refuses an empty text
	}
	return b.String()
}

// Escape makes hostile text one line of mrkdwn in which nothing is a mention.
func Escape(s string) string { return text(s, maxSection) }
