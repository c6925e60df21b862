package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const notice = "<!-- Written by go generate ./test/docs/reference from the JSON Schema. Change the types and their tags, not this page. -->\n\n"

// page is the reference of one kind of document.
func page(title, command, see string, s schema) string {
	return notice + "# " + title + "\n\nOf the JSON Schema that " + strings.Trim(strings.ReplaceAll(command, `"`, "`"), " ") +
		" prints and kmend checks with. " + see + "\n\n" + table(s)
}

// actions is the reference of what a step's `with` takes, by action.
func actions(runbook schema) string {
	var b strings.Builder
	b.WriteString(notice + "# Parameters of the actions\n\nOf the JSON Schema that `kmend runbook schema` prints and kmend checks with. [Actions](../actions.md) says what each does.\n" +
		"A value may be a `${CEL}` expression instead, where it is not said otherwise; it is checked the same when the plan is made.\n")
	for _, rule := range runbook.Properties["steps"].Items.AllOf {
		name := rule.If.Properties["action"].Const
		with := rule.Then.Properties["with"]
		fmt.Fprintf(&b, "\n## %s\n\n", name)
		if len(with.Properties) == 0 {
			b.WriteString("No parameters.\n")
			continue
		}
		b.WriteString(table(with))
	}
	return b.String()
}

// table has a line for each field, those within others after them.
func table(s schema) string {
	var b strings.Builder
	b.WriteString("| field | takes | what it is |\n|---|---|---|\n")
	fields(&b, "", s)
	return b.String()
}

func fields(b *strings.Builder, within string, s schema) {
	for _, name := range order(s) {
		f := written(s.Properties[name])
		path := within + name
		takes := takes(f)
		if slices.Contains(s.Required, name) {
			takes = "**required**; " + takes
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", path, takes, cell(f.Description))
		switch {
		case f.Type == "object" && len(f.Properties) > 0:
			fields(b, path+".", f)
		case f.Type == "object":
			if values := keyed(f); values != nil && len(values.Properties) > 0 {
				fields(b, path+".NAME.", *values)
			}
		case f.Type == "array" && f.Items != nil && len(f.Items.Properties) > 0:
			fields(b, path+"[].", *f.Items)
		}
	}
}

// order has the fields that every document begins with first, then those that are
// required, then the rest.
func order(s schema) []string {
	first := []string{"apiVersion", "kind", "metadata"}
	rank := func(name string) int {
		switch i := slices.Index(first, name); {
		case i >= 0:
			return i
		case slices.Contains(s.Required, name):
			return len(first)
		}
		return len(first) + 1
	}
	names := slices.Sorted(maps.Keys(s.Properties))
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// written is a field without the way to write it as an expression.
func written(s schema) schema {
	if len(s.AnyOf) == 0 {
		return s
	}
	out := s.AnyOf[0]
	if out.Description == "" {
		out.Description = s.Description
	}
	return out
}

// keyed is what the values of a mapping are, whose keys are free.
func keyed(s schema) *schema {
	var values schema
	if json.Unmarshal(s.AdditionalProperties, &values) != nil {
		return nil
	}
	values = written(values)
	return &values
}

// takes says which values are allowed.
func takes(s schema) string {
	if len(s.OneOf) > 0 {
		var ways []string
		for _, way := range s.OneOf {
			ways = append(ways, takes(way))
		}
		return strings.Join(ways, "; or ")
	}
	var parts []string
	switch {
	case len(s.Enum) > 0:
		for _, v := range s.Enum {
			parts = append(parts, "`"+v+"`")
		}
		parts = []string{strings.Join(parts, ", ")}
	case s.Type == "array":
		parts = append(parts, "a list"+elements(s.Items))
	case s.Type == "object" && len(s.Properties) == 0:
		parts = append(parts, "a mapping")
	case s.Type == "object":
		parts = append(parts, "see below")
	case len(s.Examples) > 0 && s.Examples[0] == "3s":
		return withDefault("a duration: `3s`, `1m30s`", s)
	default:
		parts = append(parts, map[string]string{"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}[s.Type])
	}
	parts = append(parts, bounds(s)...)
	return withDefault(strings.Join(parts, ", "), s)
}

func elements(s *schema) string {
	switch {
	case s == nil:
		return ""
	case s.Type == "object":
		return ", see below"
	case len(s.Enum) > 0:
		return " of `" + strings.Join(s.Enum, "`, `") + "`"
	}
	return map[string]string{"string": " of texts", "integer": " of whole numbers", "number": " of numbers"}[s.Type]
}

func bounds(s schema) (parts []string) {
	number := func(format string, v *float64) {
		if v != nil {
			parts = append(parts, fmt.Sprintf(format, strconv.FormatFloat(*v, 'f', -1, 64)))
		}
	}
	count := func(format string, v *int) {
		if v != nil && *v > 0 {
			parts = append(parts, fmt.Sprintf(format, *v))
		}
	}
	number("at least %s", s.Minimum)
	number("more than %s", s.ExclusiveMinimum)
	number("at most %s", s.Maximum)
	number("less than %s", s.ExclusiveMaximum)
	if s.MinLength != nil && *s.MinLength > 1 {
		count("at least %d bytes", s.MinLength)
	}
	count("up to %d characters", s.MaxLength)
	count("%d or more", s.MinItems)
	count("up to %d", s.MaxItems)
	if s.Pattern != "" {
		parts = append(parts, "matching `"+strings.ReplaceAll(s.Pattern, "|", `\|`)+"`")
	}
	return parts
}

func withDefault(text string, s schema) string {
	if s.Default == nil {
		return text
	}
	return fmt.Sprintf("%s; default `%v`", text, s.Default)
}

// cell is a text within a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(text)
}
