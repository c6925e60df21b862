package loki

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/scanner"
)

// query is a log query as far as LogQL goes here: a stream selector and line
// filters.
type query struct {
	matchers []matcher
	filters  []filter
}

type matcher struct {
	label, op, value string
	re               *regexp.Regexp // of =~ and !~
}

type filter struct {
	op, value string
	re        *regexp.Regexp
}

// parse reads a query as Loki's parser does, and refuses what that refuses.
func parse(s string) (q query, err error) {
	p := &parser{}
	p.s.Init(strings.NewReader(s))
	p.s.Mode = scanner.ScanIdents | scanner.ScanStrings | scanner.ScanRawStrings
	p.s.Error = func(*scanner.Scanner, string) { p.bad = true }
	p.next()
	if err := p.want("{"); err != nil {
		return q, err
	}
	for p.text != "}" {
		m, err := p.matcher()
		if err != nil {
			return q, err
		}
		q.matchers = append(q.matchers, m)
		if p.text == "}" {
			break
		}
		if err := p.want(","); err != nil {
			return q, err
		}
	}
	p.next()
	for p.text != "" {
		f, err := p.filter()
		if err != nil {
			return q, err
		}
		q.filters = append(q.filters, f)
	}
	for _, m := range q.matchers {
		if m.op == "=" && m.value != "" || m.op == "=~" && !m.re.MatchString("") {
			return q, nil
		}
	}
	return q, fmt.Errorf("parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will")
}

type parser struct {
	s    scanner.Scanner
	kind rune
	text string
	bad  bool
}

func (p *parser) next() {
	p.kind = p.s.Scan()
	p.text = p.s.TokenText()
	if p.kind == scanner.EOF {
		p.text = ""
		return
	}
	if strings.Contains("=!|", p.text) {
		if n := p.s.Peek(); n == '=' || n == '~' {
			p.text += string(p.s.Next())
		}
	}
}

func (p *parser) errorf(want string) error {
	at := p.s.Position
	return fmt.Errorf("parse error at line %d, col %d: syntax error: unexpected %q, expecting %s", at.Line, at.Column, p.text, want)
}

func (p *parser) want(text string) error {
	if p.text != text {
		return p.errorf(text)
	}
	p.next()
	return nil
}

func (p *parser) matcher() (m matcher, err error) {
	if p.kind != scanner.Ident {
		return m, p.errorf("IDENTIFIER or }")
	}
	m.label = p.text
	p.next()
	m.op = p.text
	if m.op != "=" && m.op != "!=" && m.op != "=~" && m.op != "!~" {
		return m, p.errorf("= or != or =~ or !~")
	}
	p.next()
	if m.value, err = p.string(); err != nil {
		return m, err
	}
	if strings.HasSuffix(m.op, "~") {
		m.re, err = regexp.Compile("^(?:" + m.value + ")$")
	}
	return m, err
}

func (p *parser) filter() (f filter, err error) {
	f.op = p.text
	if f.op != "|=" && f.op != "!=" && f.op != "|~" && f.op != "!~" {
		return f, p.errorf("|= or != or |~ or !~")
	}
	p.next()
	if f.value, err = p.string(); err != nil {
		return f, err
	}
	if strings.HasSuffix(f.op, "~") {
		f.re, err = regexp.Compile(f.value)
	}
	return f, err
}

func (p *parser) string() (string, error) {
	if p.kind != scanner.String && p.kind != scanner.RawString || p.bad {
		return "", p.errorf("STRING")
	}
	s, err := strconv.Unquote(p.text)
	if err != nil {
		return "", p.errorf("STRING")
	}
	p.next()
	return s, nil
}

// selects reports whether a stream is asked for.
func (q query) selects(stream map[string]string) bool {
	for _, m := range q.matchers {
		v := stream[m.label]
		ok := map[string]bool{"=": v == m.value, "!=": v != m.value}[m.op]
		if m.re != nil {
			ok = m.re.MatchString(v) == (m.op == "=~")
		}
		if !ok {
			return false
		}
	}
	return true
}

// keeps reports whether a line passes the filters.
func (q query) keeps(line string) bool {
	for _, f := range q.filters {
		found := strings.Contains(line, f.value)
		if f.re != nil {
			found = f.re.MatchString(line)
		}
		if found != strings.HasPrefix(f.op, "|") {
			return false
		}
	}
	return true
}
