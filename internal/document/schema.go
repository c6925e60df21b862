package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	check "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kmend/kmend/incident"
)

// Placeholder is the pattern of a text that is a CEL expression as a whole.
const Placeholder = `^\$\{[\s\S]*\}$`

// within is the pattern of a text that holds one.
const within = `\$\{[\s\S]*\}`

// Schema says what a value may be: a JSON Schema (draft 2020-12), generated from
// a Go struct's json, jsonschema and jsonschema_description tags.
type Schema struct {
	raw      map[string]any
	compiled *check.Schema
}

// SchemaOf generates the schema of v, a struct or a pointer to one.
func SchemaOf(v any) (*Schema, error) {
	r := jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, Mapper: durations}
	text, err := json.Marshal(r.Reflect(v))
	if err != nil {
		return nil, fmt.Errorf("generating the schema of %T: %w", v, err)
	}
	return parseSchema(text)
}

func durations(t reflect.Type) *jsonschema.Schema {
	if t != reflect.TypeFor[incident.Duration]() {
		return nil
	}
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`, Examples: []any{"3s", "1m30s"}}
}

func parseSchema(text []byte) (*Schema, error) {
	raw, err := check.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	m, ok := raw.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading a schema: it is %T, want an object", raw)
	}
	return SchemaFrom(m)
}

func (s *Schema) compile() (*Schema, error) {
	c := check.NewCompiler()
	const url = "kmend:document"
	if err := c.AddResource(url, s.raw); err != nil {
		return nil, fmt.Errorf("adding a schema: %w", err)
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("compiling a schema: %w", err)
	}
	s.compiled = compiled
	return s, nil
}

// Raw is a deep copy of the schema as JSON decodes it.
func (s *Schema) Raw() map[string]any { return clone(s.raw).(map[string]any) }

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			m[k] = clone(v[k])
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = clone(v[i])
		}
		return l
	}
	return v
}

// WithPlaceholders is the schema that also takes a "${...}" text in the place
// of a scalar field, for values that are computed later. A field with the
// keyword "x-written: same" takes none but those its own pattern lets through.
func (s *Schema) WithPlaceholders() (*Schema, error) {
	raw := s.Raw()
	relax(raw)
	return SchemaFrom(raw)
}

// relax takes placeholders in the fields of an object and of those in it, not in lists.
func relax(s map[string]any) {
	props, _ := s["properties"].(map[string]any)
	for name, prop := range props {
		prop, ok := prop.(map[string]any)
		switch {
		case !ok || prop["type"] == "array" || prop["x-written"] == "same":
		case prop["type"] == "object":
			relax(prop)
		default:
			props[name] = orPlaceholder(prop)
		}
	}
	if any, ok := s["additionalProperties"].(map[string]any); ok {
		relax(any)
	}
}

func orPlaceholder(s map[string]any) map[string]any {
	pattern := Placeholder
	if s["type"] == "string" {
		pattern = within
	}
	return map[string]any{"anyOf": []any{s, map[string]any{"type": "string", "pattern": pattern}}}
}

// fields are the names that an object may have, in alphabetical order.
func fields(s map[string]any) []string {
	props, _ := s["properties"].(map[string]any)
	names := make([]string, 0, len(props))
	for name := range props {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sub is the part of the schema for the value at a path, nil where it has none.
func (s *Schema) sub(path []string) map[string]any {
	at := s.raw
	for _, p := range path {
		at, _ = unwrap(at)
		var next map[string]any
		if props, ok := at["properties"].(map[string]any); ok {
			next, _ = props[p].(map[string]any)
		}
		if next == nil {
			next, _ = at["items"].(map[string]any)
		}
		if next == nil {
			next, _ = at["additionalProperties"].(map[string]any)
		}
		if next == nil {
			return nil
		}
		at = next
	}
	return at
}

// unwrap is what a value should be where a placeholder is taken too, and
// whether one is.
func unwrap(s map[string]any) (map[string]any, bool) {
	if branches, ok := s["anyOf"].([]any); ok && len(branches) == 2 {
		value, _ := branches[0].(map[string]any)
		other, _ := branches[1].(map[string]any)
		if other["pattern"] == Placeholder || other["pattern"] == within {
			return value, true
		}
	}
	return s, false
}

// TypeAt is the JSON type of the value at a path: "number", "string", ...; empty where anything goes.
func (s *Schema) TypeAt(path ...string) string {
	sub, _ := unwrap(s.sub(path))
	t, _ := sub["type"].(string)
	return t
}

// describe says in words what a schema wants.
func describe(s map[string]any) string {
	s, _ = unwrap(s)
	if enum, ok := s["enum"].([]any); ok {
		if len(enum) == 1 {
			return fmt.Sprint(enum[0])
		}
		return "one of " + strings.Join(texts(enum), ", ")
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if branches, ok := s[key].([]any); ok {
			var words []string
			for _, b := range branches {
				if b, ok := b.(map[string]any); ok {
					words = append(words, describe(b))
				}
			}
			return strings.Join(words, "; or ")
		}
	}
	var words []string
	switch t, _ := s["type"].(string); t {
	case "object":
		words = append(words, "a mapping")
	case "array":
		words = append(words, "a list")
	case "string":
		words = append(words, "text")
	case "integer":
		words = append(words, "a whole number")
	case "number":
		words = append(words, "a number")
	case "boolean":
		words = append(words, "true or false")
	default:
		words = append(words, "a value")
	}
	for _, bound := range []struct{ key, text string }{
		{"exclusiveMinimum", "more than %v"}, {"minimum", "at least %v"},
		{"exclusiveMaximum", "less than %v"}, {"maximum", "at most %v"},
		{"minItems", "at least %v of them"}, {"maxItems", "at most %v of them"},
		{"minLength", "at least %v characters"}, {"maxLength", "at most %v characters"},
		{"pattern", "matching %v"},
	} {
		if v, ok := s[bound.key]; ok && (bound.key != "pattern" || s["examples"] == nil) {
			words = append(words, fmt.Sprintf(bound.text, v))
		}
	}
	text := strings.Join(words, ", ")
	if examples, ok := s["examples"].([]any); ok {
		text += ", for example " + strings.Join(texts(examples), " or ")
	}
	return text
}

func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return out
}

// SchemaFrom is the schema that raw says, as JSON decodes it.
func SchemaFrom(raw map[string]any) (*Schema, error) { return (&Schema{raw: raw}).compile() }
