package logs

import (
	"strings"
	"unicode"
)

// template is what lines have in common, after Drain (He, Zhu, Zheng and Lyu,
// "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017):
// lines of one length whose first words are the same are compared word by word,
// and become one template where at least half of the words are the same. What
// differs, and whatever has a digit, is a blank. Lines of different levels, or
// that are signs of different things, never become one.
type template struct {
	words  []string
	level  level
	signs  signs
	sample string // the first of its lines
	now    int    // lines around the window
	before int    // lines of the baseline
}

const (
	blank        = "<*>"
	maxWords     = 40   // of a line; the rest is left out
	maxKinds     = 1000 // templates that are told apart
	least, parts = 1, 2 // of the words must be the same
)

// place is where in the tree lines must meet to be compared.
type place struct {
	words int
	first string
	level level
	signs signs
}

// templates groups lines.
type templates struct {
	all []*template
	at  map[place][]*template
}

func newTemplates() *templates { return &templates{at: map[place][]*template{}} }

// add counts a line; baseline says when it was.
func (ts *templates) add(r read, baseline bool) {
	words := wordsOf(r.text)
	if len(words) == 0 {
		return
	}
	p := place{len(words), words[0], r.level, r.signs}
	t := best(ts.at[p], words)
	if t == nil {
		if len(ts.all) >= maxKinds { // too many: what is left is one template a level
			p = place{level: r.level}
			if len(ts.at[p]) > 0 {
				t = ts.at[p][0]
			}
			words = []string{blank}
		}
		if t == nil {
			t = &template{words: words, level: r.level, signs: p.signs, sample: r.text}
			ts.at[p] = append(ts.at[p], t)
			ts.all = append(ts.all, t)
		}
	}
	t.merge(words)
	if baseline {
		t.before++
	} else {
		if t.now == 0 {
			t.sample = r.text
		}
		t.now++
	}
}

// best is the template that has most words in common with a line, nil where none has enough.
func best(among []*template, words []string) *template {
	var found *template
	most := -1
	for _, t := range among {
		same, of := 0, 0
		for i, w := range t.words {
			if w == blank || words[i] == blank {
				continue
			}
			if of++; w == words[i] {
				same++
			}
		}
		if same*parts >= of*least && same > most {
			found, most = t, same
		}
	}
	return found
}

func (t *template) merge(words []string) {
	for i := range t.words {
		if t.words[i] != words[i] {
			t.words[i] = blank
		}
	}
}

// String is the template as a line, without blanks at its beginning: times mostly.
func (t *template) String() string {
	words := t.words
	for len(words) > 1 && words[0] == blank {
		words = words[1:]
	}
	return strings.Join(words, " ")
}

// wordsOf are the words of a line, with blanks for what has a digit: of key=value
// the key stays.
func wordsOf(s string) []string {
	words := strings.Fields(s)
	words = words[:min(len(words), maxWords)]
	for i, w := range words {
		if !strings.ContainsFunc(w, unicode.IsDigit) {
			continue
		}
		key, _, ok := strings.Cut(w, "=")
		if ok && key != "" && !strings.ContainsFunc(key, unicode.IsDigit) {
			words[i] = key + "=" + blank
		} else {
			words[i] = blank
		}
	}
	return words
}
