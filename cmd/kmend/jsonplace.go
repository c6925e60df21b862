package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// incidentFile is the text of a file, for errors that say where they are.
type incidentFile struct {
	path string
	text []byte
}

func (f incidentFile) decode(into any) error {
	err := json.Unmarshal(f.text, into)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return f.errorf(syntax.Offset-1, "it is no JSON: %v; %s", syntax, wantIncident)
	}
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return f.errorf(typ.Offset-1, "%s is a %s; want %s", typ.Field, typ.Value, jsonType(typ))
	}
	if err != nil {
		return f.errorf(0, "%v", err)
	}
	return nil
}

// jsonType names what a field takes, in the words of JSON.
func jsonType(err *json.UnmarshalTypeError) string {
	switch kind := err.Type.Kind().String(); {
	case kind == "string" || kind == "bool":
		return map[string]string{"string": "a text", "bool": "true or false"}[kind]
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice":
		return "a list"
	}
	return "an object"
}

// check finds words that no diagnosis has: with one of them everything would seem
// to be unconfirmed. at is where the diagnosis is in the file.
func (f incidentFile) check(d incident.Diagnosis, at ...string) error {
	verdicts := []string{string(incident.Confirmed), string(incident.Clean), string(incident.Inconclusive)}
	causes := []string{""}
	for _, c := range incident.Causes() {
		causes = append(causes, string(c))
	}
	if err := f.oneOf(verdicts, string(d.Verdict), append(at, "verdict")...); err != nil {
		return err
	}
	for i, finding := range d.Findings {
		place := append(slices.Clone(at), "findings", fmt.Sprint(i))
		if err := f.oneOf(verdicts, string(finding.Verdict), append(slices.Clone(place), "verdict")...); err != nil {
			return err
		}
		if err := f.oneOf(causes, string(finding.Cause), append(slices.Clone(place), "cause")...); err != nil {
			return err
		}
	}
	return nil
}

func (f incidentFile) oneOf(allowed []string, got string, at ...string) error {
	if slices.Contains(allowed, got) {
		return nil
	}
	words := slices.DeleteFunc(slices.Clone(allowed), func(w string) bool { return w == "" })
	return f.errorf(f.offset(at...), "%s is %q; want one of %s%s", strings.Join(at, "."), got, strings.Join(words, ", "), document.Nearest(got, words))
}

func (f incidentFile) errorf(offset int64, format string, args ...any) error {
	before := string(f.text[:max(0, min(offset, int64(len(f.text))))])
	line, last := 1+strings.Count(before, "\n"), strings.LastIndexByte(before, '\n')
	e := &document.Error{File: f.path, Pos: document.Pos{Line: line, Column: 1 + len([]rune(before[last+1:]))}}
	e.Message = fmt.Sprintf(format, args...)
	return e
}

// offset is where the value at a path of field names and indexes begins, or the
// last thing on the way to it.
func (f incidentFile) offset(path ...string) int64 {
	d := json.NewDecoder(strings.NewReader(string(f.text)))
	at, _ := seek(d, f.text, path)
	return at
}

// seek reads one value; found is where the one at path begins.
func seek(d *json.Decoder, text []byte, path []string) (found int64, err error) {
	begin := skip(text, d.InputOffset())
	open, err := d.Token()
	if err != nil {
		return begin, err
	}
	delim, nested := open.(json.Delim)
	found = begin
	for i := 0; nested && d.More(); i++ {
		key := fmt.Sprint(i)
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return found, err
			}
			key = fmt.Sprint(name)
		}
		into := []string(nil)
		here := len(path) > 0 && key == path[0]
		if here {
			into = path[1:]
		}
		inner, err := seek(d, text, into)
		if here {
			found = inner
		}
		if err != nil {
			return found, err
		}
	}
	if nested {
		_, err = d.Token()
	}
	return found, err
}

// skip is the first byte from offset on that is part of a value.
func skip(text []byte, offset int64) int64 {
	for offset < int64(len(text)) && strings.IndexByte(" \t\r\n:,", text[offset]) >= 0 {
		offset++
	}
	return offset
}
