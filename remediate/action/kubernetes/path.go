package kubernetes

import (
	"encoding/json"
	"fmt"
	"strings"
)

// path leads to a field of an object. An element is the key of a map, or JSON
// that picks the item of a list by some of its fields: {"name":"app"}, or by its
// place: [2]. Lists are addressed by what their items are, so that what others
// add to a list meanwhile (the taints of a node) is not taken back with ours.
type path []string

func (p path) String() string { return strings.Join(p, ".") }

// item is the picker of a list's item with these fields.
func item(fields map[string]string) string {
	b, err := json.Marshal(fields)
	if err != nil {
		return "{}" // strings always marshal; an empty picker picks nothing
	}
	return string(b)
}

// at is the picker of a list's item by its place.
func at(i int) string { return fmt.Sprintf("[%d]", i) }

// get is the value at p below v, nil when there is none.
func (p path) get(v any) any {
	for _, e := range p {
		switch t := v.(type) {
		case map[string]any:
			v = t[e]
		case []any:
			i := find(t, e)
			if i < 0 {
				return nil
			}
			v = t[i]
		default:
			return nil
		}
	}
	return v
}

// set writes value at p below root; nil removes it. Maps on the way are made;
// a list's item only where it is the last element.
func (p path) set(root map[string]any, value any) error {
	updated, err := p.with(root, value)
	if err != nil {
		return fmt.Errorf("field %s: %w", p, err)
	}
	if m, ok := updated.(map[string]any); !ok || len(p) == 0 || m == nil {
		return fmt.Errorf("field %q: it is the whole object", p)
	}
	return nil
}

// with is v with the value at p, which it changes in place where it can.
func (p path) with(v, value any) (any, error) {
	if len(p) == 0 {
		return value, nil
	}
	if picks(p[0]) {
		return p.withItem(v, value)
	}
	m, ok := v.(map[string]any)
	if v == nil {
		m, ok = map[string]any{}, true
	}
	if !ok {
		return nil, fmt.Errorf("%q is in something that is no map", p[0])
	}
	below, err := p[1:].with(m[p[0]], value)
	if err != nil {
		return nil, err
	}
	if below == nil {
		delete(m, p[0])
	} else {
		m[p[0]] = below
	}
	return m, nil
}

func (p path) withItem(v, value any) (any, error) {
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, fmt.Errorf("%s picks from something that is no list", p[0])
	}
	i := find(list, p[0])
	switch {
	case i < 0 && len(p) > 1:
		return nil, fmt.Errorf("there is no item %s", p[0])
	case i < 0 && value == nil:
		return v, nil
	case i < 0:
		return append(list, value), nil
	case len(p) == 1 && value == nil:
		if rest := append(list[:i:i], list[i+1:]...); len(rest) > 0 {
			return rest, nil
		}
		return nil, nil
	}
	below, err := p[1:].with(list[i], value)
	list[i] = below
	return list, err
}

func picks(element string) bool {
	return strings.HasPrefix(element, "{") || strings.HasPrefix(element, "[")
}

// find is the place of the item that the picker means, -1 for none.
func find(list []any, picker string) int {
	var places []int
	if json.Unmarshal([]byte(picker), &places) == nil && len(places) == 1 {
		if places[0] >= 0 && places[0] < len(list) {
			return places[0]
		}
		return -1
	}
	var fields map[string]string
	if json.Unmarshal([]byte(picker), &fields) != nil || len(fields) == 0 {
		return -1
	}
next:
	for i, e := range list {
		m, ok := e.(map[string]any)
		for k, v := range fields {
			if s, is := m[k].(string); !ok || !is || s != v {
				continue next
			}
		}
		return i
	}
	return -1
}
