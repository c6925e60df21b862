package expr

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Template is a text that holds ${...} expressions. A text that is one
// expression as a whole keeps the expression's type; in any other the values
// are written into the text.
type Template struct {
	parts []part
}

type part struct {
	text string
	expr *Expr
}

// HasExpr reports whether a text holds an expression at all.
func HasExpr(text string) bool { return strings.Contains(text, "${") }

// Template compiles a text; Issue.Offset counts from its beginning.
func (e *Env) Template(text string) (*Template, []Issue) {
	t := &Template{}
	var issues []Issue
	for rest, at := text, 0; rest != ""; {
		start := strings.Index(rest, "${")
		if start < 0 {
			t.parts = append(t.parts, part{text: rest})
			break
		}
		if start > 0 {
			t.parts = append(t.parts, part{text: rest[:start]})
		}
		length := closing(rest[start+2:])
		begin := at + utf8.RuneCountInString(rest[:start])
		if length < 0 {
			return nil, append(issues, Issue{begin, "${ has no closing }"})
		}
		inner := rest[start+2 : start+2+length]
		x, found := e.Compile(inner)
		for _, issue := range found {
			issues = append(issues, Issue{begin + 2 + issue.Offset, issue.Message})
		}
		t.parts = append(t.parts, part{expr: x})
		rest = rest[start+2+length+1:]
		at = begin + 2 + utf8.RuneCountInString(inner) + 1
	}
	if issues != nil {
		return nil, issues
	}
	return t, nil
}

// closing is the index of the } that ends an expression: braces inside it and
// quoted texts do not count. It is negative when there is none.
func closing(s string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// Type is the CEL type of the value: that of the only expression, or "string".
func (t *Template) Type() string {
	if len(t.parts) == 1 && t.parts[0].expr != nil {
		return t.parts[0].expr.Type()
	}
	return "string"
}

// Words checks that every expression gives what can stand in a sentence: text, a
// number, or true and false. Issue.Offset is not known there and is 0.
func (t *Template) Words() (issues []Issue) {
	for _, p := range t.parts {
		if p.expr == nil {
			continue
		}
		switch typ := p.expr.Type(); typ {
		case "string", "int", "uint", "double", "bool", "dyn":
		default:
			issues = append(issues, Issue{0, fmt.Sprintf("${%s} is of type %s, want text, a number or true or false", strings.TrimSpace(p.expr.text), typ)})
		}
	}
	return issues
}

// Text computes a text for people. Each value passes through quote, so that what
// comes from outside cannot pass for the words around it. Numbers have at most
// three decimals.
func (t *Template) Text(facts map[string]any, quote func(string) string) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.Eval(facts)
		if err != nil {
			return "", err
		}
		switch v := v.(type) {
		case string:
			b.WriteString(quote(v))
		case float64:
			b.WriteString(strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64))
		case int64, uint64, bool:
			fmt.Fprint(&b, v)
		default:
			return "", fmt.Errorf("evaluating %s: it is %T, want text, a number or true or false", p.expr.text, v)
		}
	}
	return b.String(), nil
}

// Eval computes the value.
func (t *Template) Eval(facts map[string]any) (any, error) {
	if len(t.parts) == 1 && t.parts[0].expr != nil {
		return t.parts[0].expr.Eval(facts)
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.Eval(facts)
		if err != nil {
			return nil, err
		}
		fmt.Fprint(&b, v)
	}
	return b.String(), nil
}
