package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Where the table is in the README.
const tableBegin, tableEnd = "<!-- values: made from values.yaml by `make generate` -->\n", "<!-- end of values -->\n"

// readme is the chart's README.md with the table of what values.yaml says.
func readme() (string, error) {
	b, err := os.ReadFile(filepath.Join(Dir(), "README.md"))
	if err != nil {
		return "", fmt.Errorf("reading the chart's README: %w", err)
	}
	head, rest, ok := strings.Cut(string(b), tableBegin)
	_, tail, also := strings.Cut(rest, tableEnd)
	if !ok || !also {
		return "", fmt.Errorf("the chart's README.md has not the lines %q and %q", tableBegin, tableEnd)
	}
	rows, err := Table()
	if err != nil {
		return "", err
	}
	var t strings.Builder
	t.WriteString("| value | default | what it is |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&t, "| `%s` | `%s` | %s |\n", r.Path, r.Default, r.Text)
	}
	return head + tableBegin + t.String() + tableEnd + tail, nil
}

// Row is one value: its path, its default as JSON, and what its comment says.
type Row struct{ Path, Default, Text string }

// Table is what the comments of values.yaml say: every value has one that begins
// with "-- ", or is a map whose values have.
func Table() ([]Row, error) {
	b, err := os.ReadFile(filepath.Join(Dir(), "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the chart's values: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("reading the chart's values: %w", err)
	}
	return rows(doc.Content[0], "")
}

func rows(m *yaml.Node, path string) (out []Row, err error) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		_, text, said := strings.Cut(key.HeadComment, "# -- ")
		within := value.Kind == yaml.MappingNode && len(value.Content) > 0 && (!said || strings.Contains(value.Content[0].HeadComment, "# -- "))
		if !said && !within {
			return nil, fmt.Errorf("values.yaml:%d: %s has no comment that begins with \"# -- \"", key.Line, at)
		}
		if said {
			var v any
			if err := value.Decode(&v); err != nil {
				return nil, fmt.Errorf("values.yaml:%d: %w", value.Line, err)
			}
			b, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("values.yaml:%d: %w", value.Line, err)
			}
			out = append(out, Row{at, string(b), strings.ReplaceAll(strings.ReplaceAll(text, "\n# ", " "), "|", `\|`)})
		}
		if within {
			below, err := rows(value, at)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		}
	}
	return out, nil
}
