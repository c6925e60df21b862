package wording

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/template"

	"github.com/kmend/kmend/incident"
)

const (
	maxFile = 16 << 10 // bytes of a template
	// maxJoined bounds what join makes.
	maxJoined = 4000
	// MaxSlack, MaxPagerDuty and MaxText bound what a template says, in bytes.
	MaxSlack     = 2800
	MaxPagerDuty = 1800
	MaxText      = 64 << 10
)

// Form is what texts are for: how values are escaped and how long they get.
type Form struct {
	escape func(string) string
	max    int
}

// Slack is its mrkdwn.
func Slack() Form { return Form{escapeSlack, MaxSlack} }

// PagerDuty is the text of its notes.
func PagerDuty() Form { return Form{escapeText, MaxPagerDuty} }

// Text is for a terminal.
func Text() Form { return Form{escapeText, MaxText} }

// Template is one that was checked. Its methods may be called concurrently.
type Template struct {
	t    *template.Template
	form Form
}

// Load reads and checks a template; the errors say file and line.
func Load(path string, form Form) (*Template, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a template: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading a template: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes; a template is a few lines", path, maxFile)
	}
	return Parse(path, string(text), form)
}

// Parse checks a template whose errors call it path.
func Parse(path, text string, form Form) (*Template, error) {
	t, err := template.New(path).Option("missingkey=zero").Funcs(functions()).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if err := check(t); err != nil {
		return nil, err
	}
	parsed := &Template{t, form}
	for _, inc := range []incident.Incident{{}, sample()} {
		if _, err := parsed.Render(inc); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// errFull: a template says more than fits.
var errFull = errors.New("it says more than fits")

// bounded takes n bytes, cut where that is.
type bounded struct {
	strings.Builder
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.Builder.Write(p[:b.left])
		b.left = 0
		return 0, errFull
	}
	b.left -= len(p)
	return b.Builder.Write(p)
}

// Render is what the template says of an incident; what is too long is cut. A template
// that fails at what no check has seen is an error: the caller has words of kmend's own.
func (t *Template) Render(inc incident.Incident) (string, error) {
	out := bounded{left: t.form.max}
	err := t.t.Execute(&out, viewOf(inc, t.form.escape))
	text := strings.ToValidUTF8(out.String(), "")
	if errors.Is(err, errFull) {
		return whole(text) + "…", nil
	}
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return strings.TrimSpace(text), nil
}

// whole leaves out an escape or a link of the operator's that was cut in two.
func whole(s string) string {
	if i := strings.LastIndexByte(s, '<'); i >= 0 && !strings.Contains(s[i:], ">") {
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '&'); i >= 0 && len(s)-i < 5 && !strings.Contains(s[i:], ";") {
		s = s[:i]
	}
	return s
}

// functions are those of kmend's own; functions of text/template that are not bounded, or could
// make of an escaped value another one, check refuses.
func functions() template.FuncMap {
	return template.FuncMap{
		"join": func(sep string, all []string) string {
			out := bounded{left: maxJoined}
			for i, s := range all {
				if i > 0 {
					s = sep + s
				}
				if _, err := out.Write([]byte(s)); err != nil {
					return whole(strings.ToValidUTF8(out.String(), "")) + "…"
				}
			}
			return out.String()
		},
		"default": func(other, s string) string { return map[bool]string{true: s, false: other}[s != ""] },
	}
}

// allowed are the functions that a template may call.
func allowed() []string {
	return []string{"and", "default", "eq", "index", "join", "len", "ne", "not", "or"}
}

// fields are those of View.
func fields() (names []string) {
	for f := range reflect.TypeFor[View]().Fields() {
		names = append(names, f.Name)
	}
	return names
}
