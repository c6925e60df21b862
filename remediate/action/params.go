package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Decode reads a step's `with` into params, a pointer to the struct that
// Action.Params describes. A parameter the struct does not know, or of the
// wrong type, is an error that names it; values are not checked further.
func Decode(with map[string]any, params any) error {
	if with == nil {
		with = map[string]any{}
	}
	known := names(params)
	for name := range with {
		if !slices.Contains(known, name) {
			return fmt.Errorf("with.%s: unknown parameter; allowed: %s", name, strings.Join(known, ", "))
		}
	}
	for name, v := range with {
		b, err := json.Marshal(map[string]any{name: v})
		if err != nil {
			return fmt.Errorf("with.%s: %w", name, err)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		if err := dec.Decode(params); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("with.%s: %s", name, reason(err, v))
		}
	}
	return nil
}

// reason says what is wrong with a value without naming Go's types.
func reason(err error, v any) string {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%v is not %s", v, kind(t.Type))
	}
	return err.Error()
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float64, reflect.Float32:
		return "a number"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	}
	return "a " + t.Kind().String()
}

// names are the JSON names of the fields of the struct that p points to, those
// of embedded structs among them.
func names(p any) []string {
	var out []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(p).Elem()) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
