// Command reference writes docs/reference from the JSON Schemas of runbooks and
// policies, which are made from the types that kmend reads them with. Run it by go generate.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run . ../../..

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference ROOT, the folder of the repository")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "reference: %v\n", err)
		os.Exit(1)
	}
}

func write(root string) error {
	pages, err := made(root)
	if err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(root, "docs", "reference", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// made are the pages by file name.
func made(root string) (map[string]string, error) {
	runbook, err := read(filepath.Join(root, "runbooks", "runbook.schema.json"))
	if err != nil {
		return nil, err
	}
	policy, err := read(filepath.Join(root, "policies", "policy.schema.json"))
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"runbook.md": page("Fields of a runbook", `"kmend runbook schema"`, "[Runbooks](../runbooks.md) says what they are for; what a step's `with` takes is in [actions](actions.md).", runbook),
		"policy.md":  page("Fields of a policy", `"kmend policy schema"`, "[Policies](../policies.md) and [guards](../guards.md) say what they are for.", policy),
		"actions.md": actions(runbook),
	}, nil
}

// schema is what is needed of JSON Schema.
type schema struct {
	Type                 string
	Description          string
	Properties           map[string]schema
	Required             []string
	AdditionalProperties json.RawMessage
	Items                *schema
	Enum                 []string
	OneOf, AnyOf, AllOf  []schema
	If, Then             *schema
	Const                string
	Default              any
	Pattern              string
	Minimum, Maximum     *float64
	ExclusiveMinimum     *float64
	ExclusiveMaximum     *float64
	MinLength, MaxLength *int
	MinItems, MaxItems   *int
	Examples             []any
}

func read(path string) (s schema, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}
