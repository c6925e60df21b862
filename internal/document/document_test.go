package document

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func root(t *testing.T, text string) *Node {
	t.Helper()
	docs, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return docs[0].Root
}

// Every character of a value points at the character of the file it came from,
// however YAML writes the value.
func TestInsideFindsTheCharacterInTheFile(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"plain", "a: 1\nwhen: x é#Y z\n"},
		{"quoted", "when: \"x \\\"é\\\" \\t #Y\"\n"},
		{"single quotes", "when: 'it''s #Y'\n"},
		{"literal", "when: |\n  x y\n\n    é #Y\n"},
		{"folded", "when: >-\n  x\n  y #Y\n"},
		{"plain over lines", "when: x\n  y\n  #Y\n"},
		{"in a list in a flow", "a: {when: [x, 'x #Y']}\n"},
		{"windows line ends", "a: 1\r\nwhen: |\r\n  x\r\n  #Y\r\n"},
		{"after a byte order mark", "\uFEFFwhen: x#Y\n"},
	} {
		text := strings.ReplaceAll(tc.text, "#Y", "Y") // # would begin a comment
		n := root(t, text)
		for found := false; !found; n, found = n.items[len(n.items)-1], n.items[len(n.items)-1].items == nil {
		}
		value, ok := n.Text()
		if !ok {
			t.Fatalf("%s: no text", tc.name)
		}
		at := []rune(value)
		for i, r := range at {
			if r != 'Y' {
				continue
			}
			pos := n.inside(i)
			line := []rune(strings.Split(strings.TrimPrefix(text, "\uFEFF"), "\n")[pos.Line-1])
			if pos.Column > len(line) || line[pos.Column-1] != 'Y' {
				t.Errorf("%s: Y of %q is at %+v, where the file has %q", tc.name, value, pos, string(line))
			}
		}
		if pos := n.inside(len(at)); pos.Line == 0 {
			t.Errorf("%s: behind the end: %+v", tc.name, pos)
		}
	}
}

func TestValueReadsLikeJSON(t *testing.T) {
	n := root(t, "a: &x [1, -2, 0x10, 2.5, true, ~, \"3\", text]\nb: *x\nc: {d: }\n18446744073709551615: big\ne: 18446744073709551615\n")
	l := []any{int64(1), int64(-2), int64(16), 2.5, true, nil, "3", "text"}
	want := map[string]any{"a": l, "b": l, "c": map[string]any{"d": nil}, "18446744073709551615": "big", "e": uint64(18446744073709551615)}
	if got := n.Value(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", got, want)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"cause", "when", "kubernetes.resize_cpu"}
	for word, want := range map[string]string{
		"cuase": "cause", "wen": "when", "When": "when", "kubernetes.resizecpu": "kubernetes.resize_cpu",
		"xyz": "", "cause": "", strings.Repeat("cause", 30): "",
	} {
		got := Nearest(word, known)
		if want != "" {
			want = `; did you mean "` + want + `"?`
		}
		if got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestErrorKeepsTabsAndHidesControlCharacters(t *testing.T) {
	e := &Error{File: "f", Pos: Pos{3, 3}, Source: "\tx\x1b[31m", Message: "m"}
	if got, want := e.Error(), "f:3:3: m\n    3 | \tx\uFFFD[31m\n      | \t ^"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nine lines of aliases would be a billion values.
func TestAliasesAreBounded(t *testing.T) {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		one := fmt.Sprintf("*a%d", i)
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(one+", ", 9)+one)
	}
	_, err := Parse("f", []byte(text))
	if err == nil || !strings.Contains(err.Error(), "f:5:") || !strings.Contains(err.Error(), "more than 20000 values") {
		t.Errorf("got %v", err)
	}
}

// Whatever the bytes: documents, or an error with its place; never a panic.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a: 1\n---\nb: [x, {y: z}]\n", "a: |\n  x\n", "&a [*a]", "<<: 1", "a: .nan", "? [x]\n: y\n", "\"a\\u0041b\": 'c'", "- - - a\n", "!!binary x", "%YAML 1.2\n---\na\n", "a: &b {c: *b}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := Parse("f", []byte(text))
		if err != nil {
			var positioned Errors
			if !errors.As(err, &positioned) || err.Error() == "" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, d := range docs {
			d.Root.Value()
			visit(d.Root)
		}
	})
}

func visit(n *Node) {
	text, _ := n.Text()
	for i := range min(len(text), 50) {
		_ = n.ErrorfInside(i, "here").Error()
	}
	for _, item := range n.items {
		visit(item)
	}
}
