package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	check "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Check compares a node with the schema; name is what the messages call it,
// empty for a whole document.
func (s *Schema) Check(n *Node, name string) Errors {
	var errs Errors
	for _, p := range s.problems(n.Value()) {
		at, _ := n.At(p.path...)
		pos := at.Pos
		if p.field != "" && at.shape == mapping {
			pos = at.key(p.field)
		}
		errs = append(errs, n.doc.errorf(pos, "%s", p.text(name)))
	}
	return errs.Sort()
}

// CheckValue compares a value that stands in no file, as JSON decodes it.
func (s *Schema) CheckValue(v any, name string) error {
	var errs []error
	for _, p := range s.problems(v) {
		errs = append(errs, errors.New(p.text(name)))
	}
	return errors.Join(errs...)
}

// problem is one violation: what about the value (or the field of it) at path.
type problem struct {
	path          []string
	field         string // unknown field
	before, after string // of the name of the place
}

func (p problem) text(name string) string {
	place := name
	for _, part := range p.path {
		if part[0] >= '0' && part[0] <= '9' {
			place += "[" + part + "]"
		} else {
			place += "." + part
		}
	}
	if place = strings.TrimPrefix(place, "."); place == "" {
		place = "the document"
	}
	return p.before + place + p.after
}

func (s *Schema) problems(v any) []problem {
	err := s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	var invalid *check.ValidationError
	if !errors.As(err, &invalid) {
		return []problem{{after: ": " + err.Error()}}
	}
	var out []problem
	s.collect(invalid, v, &out)
	return out
}

func (s *Schema) collect(e *check.ValidationError, v any, out *[]problem) {
	causes := e.Causes
	switch e.ErrorKind.(type) {
	case *kind.AnyOf:
		if _, placeholder := unwrap(s.sub(e.InstanceLocation)); placeholder {
			causes = causes[:1]
		} else {
			causes = nil
		}
	case *kind.OneOf:
		causes = nil
	}
	if len(causes) > 0 {
		for _, c := range causes {
			s.collect(c, v, out)
		}
		return
	}
	sub, _ := unwrap(s.sub(e.InstanceLocation))
	add := func(field, before, after string) {
		p := problem{path: e.InstanceLocation, field: field, before: before, after: after}
		for _, had := range *out {
			if slices.Equal(had.path, p.path) && had.before == p.before && had.after == p.after {
				return
			}
		}
		*out = append(*out, p)
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			add(name, fmt.Sprintf("unknown field %q in ", name),
				"; known: "+strings.Join(fields(sub), ", ")+Nearest(name, fields(sub)))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			props, _ := sub["properties"].(map[string]any)
			prop, _ := props[name].(map[string]any)
			add("", fmt.Sprintf("missing field %q in ", name), ": "+describe(prop))
		}
	default:
		got, hint := at(v, e.InstanceLocation), ""
		if text, ok := got.(string); ok {
			if enum, ok := sub["enum"].([]any); ok && len(enum) > 1 {
				hint = Nearest(text, texts(enum))
			}
		}
		add("", "", fmt.Sprintf(" is %s; want %s%s", show(got), describe(sub), hint))
	}
}

func at(v any, path []string) any {
	for _, p := range path {
		switch c := v.(type) {
		case map[string]any:
			v = c[p]
		case []any:
			for i := range c {
				if fmt.Sprint(i) == p {
					v = c[i]
					break
				}
			}
		}
	}
	return v
}

// show is a value as an error message shows it.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case map[string]any:
		return "a mapping"
	case []any:
		if len(v) == 0 {
			return "an empty list"
		}
		return "a list"
	case string:
		if runes := []rune(v); len(runes) > 60 {
			v = string(runes[:60]) + "…"
		}
		return fmt.Sprintf("%q", v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// Decode fills into (a pointer) from the document. Check the schema first: what
// remains to fail here is a value that its type refuses.
func (d *Document) Decode(into any) error {
	text, err := json.Marshal(d.Root.Value())
	if err != nil {
		return d.Root.Errorf("%v", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return d.Root.Errorf("%v", err)
	}
	return nil
}
