package logs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/redact"
)

// grouped are the templates of lines with their counts, in the order of the first line.
func grouped(lines ...string) []string {
	ts := newTemplates()
	for _, l := range lines {
		ts.add(parse(Line{Text: l}, redact.Redactor{}), false)
	}
	var out []string
	for _, t := range ts.all {
		out = append(out, fmt.Sprintf("%d %s", t.now, t))
	}
	return out
}

func TestTemplates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"numbers", []string{"GET /cart/1 200 in 3ms", "GET /cart/2 200 in 4ms"}, []string{"2 GET <*> <*> in <*>"}},
		{"key and value", []string{"took=3ms user=ada", "took=4ms user=bob"}, []string{"2 took=<*> <*>"}},
		{"a word", []string{"user ada logged in", "user bob logged in", "user ada logged in"}, []string{"3 user <*> logged in"}},
		{"half is different", []string{"read file from disk", "read page of cache"}, []string{"1 read file from disk", "1 read page of cache"}},
		{"of another length", []string{"cannot connect", "cannot connect now"}, []string{"1 cannot connect", "1 cannot connect now"}},
		{"of another level", []string{"ERROR it is it", "WARN it is it"}, []string{"1 ERROR it is it", "1 WARN it is it"}},
		{"times before", []string{"2026-11-23 07:00:01 starting up", "2026-11-23 07:00:02 starting up"}, []string{"2 starting up"}},
		{"blanks alone are nothing in common", []string{"1 2 3 order paid", "4 5 6 cart lost"}, []string{"1 order paid", "1 cart lost"}},
		{"signs stay apart", []string{"cannot pay the order: connection refused", "cannot pay the order: connection reset"},
			[]string{"1 cannot pay the order: connection refused", "1 cannot pay the order: connection reset"}},
		{"empty lines", []string{"", "  ", "\n"}, nil},
		{"the same", []string{"a b", "a b"}, []string{"2 a b"}},
	} {
		if got := grouped(tt.lines...); strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}

// Lines that have nothing in common do not make more templates than are told apart.
func TestTemplatesBound(t *testing.T) {
	ts := newTemplates()
	word := func(n int) string { return strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprint(n)) }
	const lines = 3 * maxKinds
	for i := range lines {
		ts.add(read{text: word(i) + " " + word(i)}, i%2 == 0)
	}
	n := 0
	for _, x := range ts.all {
		n += x.now + x.before
	}
	if len(ts.all) != maxKinds+1 || n != lines {
		t.Errorf("%d templates count %d lines", len(ts.all), n)
	}
}

// BenchmarkSay is the most that there is to read: two queries of 500 lines each of
// the window and of the baseline, half of them long.
func BenchmarkSay(b *testing.B) {
	var f reading
	for i := range 1000 {
		f.now.Lines = append(f.now.Lines, Line{Text: fmt.Sprintf(`{"level":"error","msg":"request %d of user%d failed","took":"%dms","trace":"%032x"}`, i, i%7, i*3, i)})
		f.before.Lines = append(f.before.Lines, Line{Text: strings.Repeat(fmt.Sprintf("line %d ", i), 500)})
	}
	r := Reader{DefaultOptions()}
	r.opts.Store = &Loki{}
	for b.Loop() {
		r.say(b.Context(), f, incident.Diagnosis{})
	}
}
