package runbooks

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// schemas are the schema of a runbook without its `with`, and that of each
// action's `with`: as a file may write it, with ${...}, and as an action gets it.
type schemas struct {
	document *document.Schema
	with     map[string]withSchema
	actions  []string
}

type withSchema struct {
	written, rendered *document.Schema
	irreversible      bool
}

func newSchemas(actions []ActionSpec) (*schemas, error) {
	s := &schemas{with: map[string]withSchema{}}
	for _, a := range actions {
		if _, twice := s.with[a.Name]; twice {
			return nil, fmt.Errorf("action %q is there twice", a.Name)
		}
		rendered, err := document.SchemaOf(a.Params)
		if err != nil {
			return nil, fmt.Errorf("action %s: %w", a.Name, err)
		}
		written, err := rendered.WithPlaceholders()
		if err != nil {
			return nil, fmt.Errorf("action %s: %w", a.Name, err)
		}
		s.with[a.Name] = withSchema{written, rendered, a.Irreversible}
		s.actions = append(s.actions, a.Name)
	}
	slices.Sort(s.actions)
	base, err := document.SchemaOf(Runbook{})
	if err != nil {
		return nil, err
	}
	raw := base.Raw()
	property(raw, "match", "cause")["enum"] = list(incident.Causes())
	step := property(raw, "steps")["items"].(map[string]any)
	property(step, "action")["enum"] = list(s.actions)
	s.document, err = document.SchemaFrom(raw)
	return s, err
}

// property is a part of a schema that this package's own types put there.
func property(schema map[string]any, path ...string) map[string]any {
	for _, p := range path {
		schema = schema["properties"].(map[string]any)[p].(map[string]any)
	}
	return schema
}

func list[T ~string](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// Schema is the JSON Schema of a runbook for editors: with each action's
// parameters, which depend on the action that a step names.
func Schema(actions []ActionSpec) ([]byte, error) {
	s, err := newSchemas(actions)
	if err != nil {
		return nil, err
	}
	raw := s.document.Raw()
	raw["title"] = "kmend runbook"
	raw["oneOf"] = []any{map[string]any{"required": []any{"steps"}}, map[string]any{"required": []any{"report"}}}
	step := property(raw, "steps")["items"].(map[string]any)
	var rules []any
	for _, name := range s.actions {
		with := s.with[name].written.Raw()
		delete(with, "$schema")
		then := map[string]any{"properties": map[string]any{"with": with}}
		if required, ok := with["required"].([]any); ok && len(required) > 0 {
			then["required"] = []any{"with"}
		}
		rules = append(rules, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"action": map[string]any{"const": name}}},
			"then": then,
		})
	}
	if rules != nil {
		step["allOf"] = rules
	}
	text, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}
