package llm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// dialect is the part of JSON Schema that a provider's structured outputs take.
type dialect struct {
	keywords    []string
	allRequired bool // every property has to be
	maxMinItems int  // of minItems
	maxDepth    int
}

var everywhere = strings.Fields("type properties required additionalProperties items minItems enum const anyOf $ref $defs title description format pattern")

var (
	// https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
	anthropicDialect = dialect{keywords: append([]string{"allOf", "default"}, everywhere...), maxMinItems: 1, maxDepth: 100}
	// https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
	openAIDialect = dialect{keywords: append(strings.Fields("maxItems multipleOf minimum maximum exclusiveMinimum exclusiveMaximum"), everywhere...),
		allRequired: true, maxMinItems: 1 << 30, maxDepth: 10}
)

// schema is a node of a JSON Schema.
type schema struct {
	Type                 any                        `json:"type"`
	Properties           map[string]json.RawMessage `json:"properties"`
	Required             []string                   `json:"required"`
	AdditionalProperties *bool                      `json:"additionalProperties"`
	Items                json.RawMessage            `json:"items"`
	MinItems             int                        `json:"minItems"`
	AnyOf                []json.RawMessage          `json:"anyOf"`
	AllOf                []json.RawMessage          `json:"allOf"`
	Defs                 map[string]json.RawMessage `json:"$defs"`
}

// check says what of a schema the provider refuses.
func (d dialect) check(raw json.RawMessage) error {
	var root schema
	if err := json.Unmarshal(raw, &root); err != nil {
		return fmt.Errorf("the schema's root: %w", err)
	}
	if root.Type != "object" {
		return fmt.Errorf("the schema's root is of type %v; want object", root.Type)
	}
	return d.node("schema", raw, 1)
}

func (d dialect) node(at string, raw json.RawMessage, depth int) error {
	var used map[string]json.RawMessage
	var n schema
	if err := json.Unmarshal(raw, &used); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	for _, k := range keys(used) {
		if !slices.Contains(d.keywords, k) {
			return fmt.Errorf("%s: %q is not permitted", at, k)
		}
	}
	switch {
	case depth > d.maxDepth:
		return fmt.Errorf("%s: more than %d levels", at, d.maxDepth)
	case n.MinItems > d.maxMinItems:
		return fmt.Errorf("%s: minItems %d", at, n.MinItems)
	case n.Type == "array" && n.Items == nil:
		return fmt.Errorf("%s: an array without items", at)
	case n.Type == "object" && (n.AdditionalProperties == nil || *n.AdditionalProperties):
		return fmt.Errorf("%s: additionalProperties has to be false", at)
	}
	for _, name := range n.Required {
		if n.Properties[name] == nil {
			return fmt.Errorf("%s: %q is required and no property", at, name)
		}
	}
	for _, name := range keys(n.Properties) {
		if d.allRequired && !slices.Contains(n.Required, name) {
			return fmt.Errorf("%s: %q has to be required", at, name)
		}
	}
	return d.children(at, n, depth+1)
}

func (d dialect) children(at string, n schema, depth int) error {
	children := map[string]json.RawMessage{}
	for name, c := range n.Properties {
		children["properties."+name] = c
	}
	for name, c := range n.Defs {
		children["$defs."+name] = c
	}
	for i, c := range append(n.AnyOf, n.AllOf...) {
		children[fmt.Sprintf("of.%d", i)] = c
	}
	if n.Items != nil {
		children["items"] = n.Items
	}
	for _, name := range keys(children) {
		if err := d.node(at+"."+name, children[name], depth); err != nil {
			return err
		}
	}
	return nil
}
