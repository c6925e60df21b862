package logs

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/internal/redact"
)

// Bounds of one line, in bytes: what is looked at, and what is kept of it. A
// secret that the first cuts in two is beyond the second.
const (
	maxLine = 2048
	maxKept = 512
)

// level of a line, in four words whatever the program calls it.
type level string

const (
	unknown level = ""
	debug   level = "debug"
	info    level = "info"
	warning level = "warning"
	failure level = "error" // and what is worse
)

// read is what counts of a line: one line of text without secrets and without
// what a terminal would obey, its level, and what it is a sign of.
type read struct {
	text  string
	level level
	signs signs
}

var ansi = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]`)

// parse reads a line. Of JSON it takes the message and the error.
func parse(l Line, r redact.Redactor) read {
	raw := strings.ToValidUTF8(cut(l.Text, maxLine), "\uFFFD")
	text, said := raw, levelOf(l.Level)
	if m, lvl, ok := fromJSON(l.Text); ok {
		text = cut(m, maxLine)
		if said == unknown {
			said = lvl
		}
	}
	text = r.Redact(plain(text))
	if said == unknown {
		said = guess(text)
	}
	whole := text
	head, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return read{text: cut(strings.Join(strings.Fields(head), " "), maxKept), level: said, signs: signsOf(whole)}
}

// fromJSON is the message of a line that is a JSON object, with its error, and its level.
func fromJSON(s string) (message string, l level, ok bool) {
	if !strings.HasPrefix(strings.TrimLeft(s, " "), "{") {
		return "", "", false
	}
	var m map[string]any
	if json.Unmarshal([]byte(s), &m) != nil {
		return "", "", false
	}
	for _, name := range []string{"message", "msg", "event", "log"} {
		if message, ok = m[name].(string); ok && message != "" {
			break
		}
	}
	for _, name := range []string{"error", "err", "exception", "error.message"} {
		if s, is := m[name].(string); is && s != "" {
			message, ok = strings.TrimPrefix(message+": "+s, ": "), true
			break
		}
	}
	for _, name := range []string{"level", "severity", "lvl", "log.level"} {
		if s, is := m[name].(string); is {
			l = levelOf(s)
			break
		}
	}
	return message, l, ok && message != ""
}

// plain is s without escape sequences and control characters, but for line breaks.
func plain(s string) string {
	if strings.Contains(s, "\x1b[") {
		s = ansi.ReplaceAllString(s, "")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsControl(r), unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

func levelOf(s string) level {
	switch strings.ToLower(s) {
	case "error", "err", "fatal", "critical", "crit", "panic", "alert", "emerg", "emergency", "severe", "dpanic":
		return failure
	case "warn", "warning":
		return warning
	case "info", "information", "notice", "log":
		return info
	case "debug", "trace", "fine", "finer", "verbose":
		return debug
	}
	return unknown
}

// What says the level in the first part of a line: level=error, "ERROR:" or
// [error], the letter of klog, and a Go program's or Python's own end.
var (
	levelKey  = regexp.MustCompile(`(?i)\b(?:level|severity|lvl)["']?[=:]\s*["']?([a-z]+)`)
	levelWord = regexp.MustCompile(`\b(ERROR|ERR|FATAL|CRITICAL|CRIT|PANIC|SEVERE|ALERT|EMERG|WARN|WARNING|INFO|NOTICE|LOG|DEBUG|TRACE)\b|\[(error|crit|alert|emerg|warn|notice|info|debug)\]`)
	klog      = regexp.MustCompile(`^([EFWI])\d{4} `)
	itsOwnEnd = regexp.MustCompile(`^(panic: |fatal error: |Traceback \(most recent call last\)|Exception in thread |Unhandled exception|Segmentation fault)`)
)

const levelWithin = 120

func guess(s string) level {
	head := cut(s, levelWithin)
	if itsOwnEnd.MatchString(head) {
		return failure
	}
	if m := klog.FindStringSubmatch(head); m != nil {
		return map[string]level{"E": failure, "F": failure, "W": warning, "I": info}[m[1]]
	}
	if m := levelKey.FindStringSubmatch(head); m != nil {
		if l := levelOf(m[1]); l != unknown {
			return l
		}
	}
	if m := levelWord.FindStringSubmatch(head); m != nil {
		return levelOf(m[1] + m[2])
	}
	return unknown
}

// cut is s with at most n bytes, and not in the middle of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
