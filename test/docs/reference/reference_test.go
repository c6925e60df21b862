package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is committed is what the schemas say.
func TestTheCommittedReferenceIsCurrent(t *testing.T) {
	const root = "../../.."
	pages, err := made(root)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs/reference/*.md"))
	if err != nil || len(files) != len(pages) {
		t.Errorf("docs/reference has %d pages, want %d (%v)", len(files), len(pages), err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(root, "docs/reference", name))
		if err != nil || string(got) != want {
			t.Errorf("docs/reference/%s is not what the schema says (%v); run: go generate ./test/docs/reference", name, err)
		}
	}
}

func TestTable(t *testing.T) {
	var s schema
	if err := json.Unmarshal([]byte(`{"type": "object", "required": ["max"], "properties": {
		"max": {"anyOf": [{"oneOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^a|b$"}]}, {"type": "string"}], "description": "Never over it."},
		"level": {"type": "string", "enum": ["a", "b"], "default": "a"},
		"in": {"type": "string", "examples": ["3s"], "pattern": "x", "description": "a|b"},
		"kind": {"type": "string"},
		"list": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
		"map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"file": {"type": "string", "maxLength": 9}}}}
	}}`), &s); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"| field | takes | what it is |", "|---|---|---|",
		"| `kind` | text |  |",
		"| `max` | **required**; a number, more than 0; or text, matching `^a\\|b$` | Never over it. |",
		"| `in` | a duration: `3s`, `1m30s` | a\\|b |",
		"| `level` | `a`, `b`; default `a` |  |",
		"| `list` | a list, see below, up to 2 |  |",
		"| `list[].on` | true or false |  |",
		"| `map` | a mapping |  |",
		"| `map.NAME.file` | text, up to 9 characters |  |", "",
	}, "\n")
	if got := table(s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
