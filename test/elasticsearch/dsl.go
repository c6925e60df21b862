package elasticsearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// search is the body of a search, as far as it goes here. What is not here is
// refused, as Elasticsearch refuses unknown keys.
type search struct {
	Size           *int              `json:"size"`
	TrackTotalHits *bool             `json:"track_total_hits"`
	Timeout        string            `json:"timeout"`
	Source         []string          `json:"_source"`
	Query          json.RawMessage   `json:"query"`
	Sort           []json.RawMessage `json:"sort"`
}

type sorted struct {
	Order        string `json:"order"`
	UnmappedType string `json:"unmapped_type"`
}

// condition says whether a document matches.
type condition func(doc map[string]any) bool

// strict decodes JSON without unknown keys and without anything after it.
func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("something follows the object")
	}
	return nil
}

// one is the only key of an object: [bool] malformed query is what Elasticsearch
// says to two.
func one(raw []byte) (key string, value json.RawMessage, err error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	if len(m) != 1 {
		return "", nil, fmt.Errorf("malformed query, expected [END_OBJECT] but found [FIELD_NAME]: %d keys", len(m))
	}
	for key, value = range m {
	}
	return key, value, nil
}

// query compiles a query: bool with filter or should, range, term, terms and match.
func query(raw []byte) (condition, error) {
	kind, body, err := one(raw)
	if err != nil {
		return nil, err
	}
	if kind == "bool" {
		return boolean(body)
	}
	name, arg, err := one(body)
	if err != nil {
		return nil, fmt.Errorf("[%s] %w", kind, err)
	}
	switch kind {
	case "range":
		return within(name, arg)
	case "term":
		var t struct {
			Value string `json:"value"`
		}
		if err := strict(arg, &t); err != nil {
			return nil, fmt.Errorf("[term] %w", err)
		}
		return func(doc map[string]any) bool { return value(doc, name) == t.Value }, nil
	case "terms":
		var all []string
		if err := strict(arg, &all); err != nil {
			return nil, fmt.Errorf("[terms] %w", err)
		}
		return func(doc map[string]any) bool { return slices.Contains(all, value(doc, name)) }, nil
	case "match":
		var m struct {
			Query    string `json:"query"`
			Operator string `json:"operator"`
		}
		if err := strict(arg, &m); err != nil || m.Operator != "or" {
			return nil, fmt.Errorf("[match] %+v: %w", m, err)
		}
		return func(doc map[string]any) bool {
			have := tokens(value(doc, name))
			return slices.ContainsFunc(tokens(m.Query), func(w string) bool { return slices.Contains(have, w) })
		}, nil
	}
	return nil, fmt.Errorf("unknown query [%s]", kind)
}

// tokens are what the standard analyzer makes of a text, nearly.
func tokens(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_'.", r) })
}

func boolean(raw []byte) (condition, error) {
	var b struct {
		Filter  []json.RawMessage `json:"filter"`
		Should  []json.RawMessage `json:"should"`
		AtLeast *int              `json:"minimum_should_match"`
	}
	if err := strict(raw, &b); err != nil {
		return nil, fmt.Errorf("[bool] %w", err)
	}
	var must, should []condition
	for _, x := range []struct {
		raw  []json.RawMessage
		into *[]condition
	}{{b.Filter, &must}, {b.Should, &should}} {
		for _, r := range x.raw {
			c, err := query(r)
			if err != nil {
				return nil, err
			}
			*x.into = append(*x.into, c)
		}
	}
	needed := 0
	if len(must) == 0 && len(should) > 0 {
		needed = 1
	}
	if b.AtLeast != nil {
		needed = *b.AtLeast
	}
	return func(doc map[string]any) bool {
		for _, c := range must {
			if !c(doc) {
				return false
			}
		}
		n := 0
		for _, c := range should {
			if c(doc) {
				n++
			}
		}
		return n >= needed
	}, nil
}

func within(name string, raw []byte) (condition, error) {
	var r struct {
		GTE    string `json:"gte"`
		LT     string `json:"lt"`
		Format string `json:"format"`
	}
	if err := strict(raw, &r); err != nil {
		return nil, fmt.Errorf("[range] %w", err)
	}
	if r.Format != "strict_date_optional_time" {
		return nil, fmt.Errorf("Invalid format: [%s]", r.Format)
	}
	from, err := time.Parse(time.RFC3339Nano, r.GTE)
	if err != nil {
		return nil, fmt.Errorf("failed to parse date field [%s] with format [%s]", r.GTE, r.Format)
	}
	to, err := time.Parse(time.RFC3339Nano, r.LT)
	if err != nil {
		return nil, fmt.Errorf("failed to parse date field [%s] with format [%s]", r.LT, r.Format)
	}
	return func(doc map[string]any) bool {
		at, err := time.Parse(time.RFC3339Nano, value(doc, name))
		return err == nil && !at.Before(from) && at.Before(to)
	}, nil
}

// value is a document's field, by the names of objects with dots between.
func value(doc map[string]any, name string) string {
	var at any = doc
	for part := range strings.SplitSeq(name, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return ""
		}
		at = m[part]
	}
	s, _ := at.(string)
	return s
}
