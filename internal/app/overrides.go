package app

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// variable begins the names of variables that stand for fields: KMEND_SLACK_CHANNEL
// is slack.channel.
const variable = "KMEND_"

// ownVariables are flags of kmend and kmend-agent, and no fields.
var ownVariables = regexp.MustCompile(`^KMEND_(CONFIG|DATA_DIR|LOG_LEVEL|LOG_FORMAT|SERVER|TOKEN_FILE|CPU_BUDGET|AGENT_.*)$`)

// serviceLinks are what kubelet tells a container of each Service that is called kmend-something.
var serviceLinks = regexp.MustCompile(`^KMEND_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// scalar is a field that a variable can stand for.
type scalar struct {
	path []string
	kind reflect.Kind
}

// scalars are those of t by their variables.
func scalars(t reflect.Type, path []string, into map[string]scalar) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || len(path) == 0 && (name == "apiVersion" || name == "kind") {
			continue
		}
		at := append(slices.Clone(path), name)
		kind := f.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case kind == reflect.TypeFor[incident.Duration]():
			into[variableOf(at)] = scalar{at, reflect.String}
		case kind.Kind() == reflect.Struct:
			scalars(kind, at, into)
		case kind.Kind() != reflect.Slice && kind.Kind() != reflect.Map:
			into[variableOf(at)] = scalar{at, kind.Kind()}
		}
	}
}

func variableOf(path []string) string { return variable + strings.ToUpper(strings.Join(path, "_")) }

// override puts the fields that variables stand for in the place of c's. written is
// what the file says, which has been checked.
func (c *Config) override(environ []string, schema *document.Schema, written any) error {
	known := map[string]scalar{}
	scalars(reflect.TypeFor[Config](), nil, known)
	whole, _ := written.(map[string]any)
	given := map[string]any{}
	c.variables = map[string]string{}
	var errs document.Errors
	wrong := func(name, format string, args ...any) {
		errs = append(errs, &document.Error{File: name, Message: fmt.Sprintf(format, args...)})
	}
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		field, ok := known[name]
		if !ok {
			if why := slip(name, known); why != "" {
				wrong(name, "%s", why)
			}
			continue
		}
		v, err := parsed(text, field.kind)
		if err != nil {
			wrong(name, "%v", err)
			continue
		}
		put(whole, field.path, v)
		put(given, field.path, v)
		c.variables[strings.Join(field.path, ".")] = name
	}
	if len(errs) > 0 || len(given) == 0 {
		return orNil(errs)
	}
	if err := schema.CheckValue(whole, ""); err != nil {
		names := make([]string, 0, len(c.variables))
		for _, name := range c.variables {
			names = append(names, name)
		}
		slices.Sort(names)
		return document.Errors{{File: "with " + strings.Join(names, ", "), Message: err.Error()}}
	}
	text, err := json.Marshal(given)
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if err != nil {
		return fmt.Errorf("taking fields from the environment: %w", err)
	}
	return nil
}

func orNil(errs document.Errors) error {
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// parsed is a variable's value as JSON has it.
func parsed(text string, kind reflect.Kind) (any, error) {
	switch kind {
	case reflect.String:
		return text, nil
	case reflect.Bool:
		if text == "true" || text == "false" {
			return text == "true", nil
		}
		return nil, fmt.Errorf("it is %q; want true or false", text)
	case reflect.Float64:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || v != v || v > 1e300 || v < -1e300 {
			return nil, fmt.Errorf("it is %q; want a number", text)
		}
		return v, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("it is %q; want a whole number", text)
	}
	return v, nil
}

func put(into map[string]any, path []string, v any) {
	for _, name := range path[:len(path)-1] {
		next, ok := into[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			into[name] = next
		}
		into = next
	}
	into[path[len(path)-1]] = v
}

// slip says what is wrong with a variable that looks as if it stood for a field, and
// stands for none; "" for all others.
func slip(name string, known map[string]scalar) string {
	rest, ours := strings.CutPrefix(name, variable)
	if !ours || ownVariables.MatchString(name) || serviceLinks.MatchString(name) {
		return ""
	}
	first, _, _ := strings.Cut(rest, "_")
	var names, fields, siblings []string
	for k, f := range known {
		names, fields = append(names, k), append(fields, strings.TrimPrefix(k, variable))
		if len(f.path) > 1 && strings.EqualFold(f.path[0], first) {
			siblings = append(siblings, k)
		}
	}
	if document.Nearest(rest, fields) == "" && siblings == nil {
		return ""
	}
	slices.Sort(names)
	slices.Sort(siblings)
	near := document.Nearest(name, names)
	if near == "" && len(siblings) > 0 {
		near = "; there are " + strings.Join(siblings, ", ")
	}
	return "stands for no single field of the configuration" + near
}
