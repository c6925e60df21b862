package docs

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// field is what is needed of a JSON Schema.
type field struct {
	Properties map[string]field
	Items      *field
}

// The example in docs/configuration.md that says to have every field has every field,
// but for those that exclude another; these are in the table below it.
func TestEveryField(t *testing.T) {
	var schema field
	if err := json.Unmarshal([]byte(read(t, "deploy/kmend.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(read(t, "docs/configuration.md"), "```yaml\n# every field\n")
	text, _, found := strings.Cut(text, "```")
	var example any
	if err := yaml.Unmarshal([]byte(text), &example); err != nil || !found {
		t.Fatalf("docs/configuration.md has no block that begins with # every field: %v", err)
	}
	for _, path := range missing("", schema, []any{example}) {
		if !slices.Contains(excluded, path) {
			t.Errorf("the example of every field in docs/configuration.md does not have %s", path)
		}
		if name := path[strings.LastIndex(path, ".")+1:]; !strings.Contains(read(t, "docs/configuration.md"), name+"`") {
			t.Errorf("docs/configuration.md does not say %s", path)
		}
	}
}

// excluded are fields that another one of the example excludes.
var excluded = []string{"database", "logs.elasticsearch.passwordFile", "logs.elasticsearch.username", "logs.loki.passwordFile", "logs.loki.username"}

// missing are the fields of a schema that none of the values has.
func missing(within string, s field, values []any) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		var inside []any
		for _, v := range values {
			if m, ok := v.(map[string]any); ok && m[name] != nil {
				if l, ok := m[name].([]any); ok {
					inside = append(inside, l...)
				} else {
					inside = append(inside, m[name])
				}
			}
		}
		sub := s.Properties[name]
		if sub.Items != nil {
			sub = *sub.Items
		}
		if inside == nil {
			out = append(out, within+name)
			continue
		}
		out = append(out, missing(within+name+".", sub, inside)...)
	}
	return out
}
