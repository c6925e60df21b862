package llm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/kmend/kmend/incident"
)

// Bounds of what a model may say.
const (
	maxSentences = 5 // of a section; a title is one
	maxSentence  = 400
	maxCited     = 64
)

// Dropped is a sentence that was not kept, and why.
type Dropped struct {
	Section, Text string
	Reason        string // one word: form, link, id, quote, cause or ungrounded
	Detail        string
}

// Check keeps those sentences of a summary that an incident supports, with the
// facts as a model sees them. It is pure: it asks nobody.
func Check(inc incident.Incident, r Redactor, s incident.Summary) (kept incident.Summary, out []Dropped, err error) {
	p, err := newPacket(inc, r)
	if err != nil {
		return kept, nil, err
	}
	kept, out = newChecker(p.facts).check(s)
	return kept, out, nil
}

// Why a sentence is dropped.
const (
	dropForm       = "form"       // no text, too long, one too many, markup, control characters
	dropLink       = "link"       // a URL or a mention
	dropID         = "id"         // cites nothing, or what is not there
	dropQuote      = "quote"      // quotes what no fact says
	dropCause      = "cause"      // claims a cause without a confirmed finding
	dropUngrounded = "ungrounded" // its words or numbers are not in what it cites
)

// known is a fact with its text taken apart.
type known struct {
	fact
	clauses []clause
}

// checker keeps the sentences that facts support. It is a function of the facts:
// it asks nobody.
type checker struct {
	facts     map[string]known
	target    []string // names of the target, which every clause may use
	confirmed []known
}

func newChecker(facts []fact) checker {
	c := checker{facts: map[string]known{}}
	for _, f := range facts {
		k := known{fact: f}
		switch f.Kind {
		case alertKind:
			k.clauses = []clause{{words: f.names}}
		case targetKind:
			for _, cl := range clauses(f.Text) {
				cl.words = slices.DeleteFunc(append(names(cl.words), cl.words...), func(w string) bool { return !isName(w) && !slices.Contains(targetNouns, w) })
				c.target = append(c.target, slices.DeleteFunc(slices.Clone(cl.words), func(w string) bool { return w == "cpu" })...)
				k.clauses = append(k.clauses, cl)
			}
		default:
			k.clauses = clauses(f.said())
			if len(f.names) > 0 {
				k.clauses = append(k.clauses, clause{words: f.names})
			}
			for i := range k.clauses {
				k.clauses[i].words = append(k.clauses[i].words, names(k.clauses[i].words)...)
			}
		}
		c.facts[f.ID] = k
		if f.Kind == confirmedKind {
			c.confirmed = append(c.confirmed, k)
		}
	}
	return c
}

// targetNouns are what a target is.
var targetNouns = []string{"pod", "nod", "cgroup", "container", "namespac", "cluster", "unit", "pid", "cpu"}

// check keeps what is supported of s.
func (c checker) check(s incident.Summary) (kept incident.Summary, out []Dropped) {
	kept.By = s.By
	from, to := s.Sections(), kept.Sections()
	for i, section := range from {
		limit := maxSentences
		if section.Name == "title" {
			limit = 1
		}
		for _, sentence := range *section.Sentences {
			reason, detail := c.refuse(section.Name, sentence)
			if reason == "" && len(*to[i].Sentences) == limit {
				reason, detail = dropForm, "one too many"
			}
			if reason != "" {
				out = append(out, Dropped{section.Name, sentence.Text, reason, detail})
				continue
			}
			*to[i].Sentences = append(*to[i].Sentences, sentence)
		}
	}
	return kept, out
}

var (
	link   = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://|\b(www|mailto|tel|javascript|data)[.:]|@|\b[a-z0-9-]+\.(com|net|org|io|dev|app|co|me|info|biz|cloud|ai|sh|xyz|ru|cn|de|uk|eu|example)\b`)
	markup = regexp.MustCompile("[<>*`{}|~^\\\\#$&]|\\]\\(")
	quotes = regexp.MustCompile(`"([^"]*)"|“([^”]*)”|«([^»]*)»`)
)

// refuse says why a sentence is not kept; empty: it is.
func (c checker) refuse(section string, s incident.Sentence) (reason, detail string) {
	text := strings.ReplaceAll(s.Text, "->", "→")
	switch {
	case strings.TrimSpace(text) == "" || len(text) > maxSentence:
		return dropForm, fmt.Sprintf("%d bytes", len(text))
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return dropForm, "control characters"
	case link.MatchString(text):
		return dropLink, link.FindString(text)
	case markup.MatchString(text):
		return dropForm, "markup"
	case len(s.Evidence) == 0 || len(s.Evidence) > maxCited:
		return dropID, fmt.Sprintf("%d ids", len(s.Evidence))
	}
	var cited []known
	for _, id := range s.Evidence {
		f, ok := c.facts[id]
		if !ok {
			return dropID, id
		}
		cited = append(cited, f)
	}
	for _, m := range quotes.FindAllStringSubmatch(text, -1) {
		q := m[1] + m[2] + m[3]
		if !slices.ContainsFunc(cited, func(f known) bool { return f.Kind != alertKind && strings.Contains(f.said(), q) }) {
			return dropQuote, q
		}
	}
	may, reason := c.witnesses(section, text, cited)
	if reason != "" {
		return dropCause, reason
	}
	parts := clauses(text)
	if !slices.ContainsFunc(parts, func(p clause) bool { return len(p.words)+len(p.numbers) > 0 }) {
		return dropUngrounded, "it says nothing that can be checked"
	}
	for _, p := range parts {
		p.possible = p.possible && !p.past
		if !slices.ContainsFunc(may, func(f known) bool { return c.supports(f, p) }) {
			return dropUngrounded, strings.Join(p.words, " ")
		}
	}
	return "", ""
}

// witnesses are those of the cited facts that may support a sentence. Why
// something happened only confirmed findings and their evidence may say, where
// there are any; what was done, not what the alert says.
func (c checker) witnesses(section, text string, cited []known) (may []known, refused string) {
	why := section == "rootCause" || slices.ContainsFunc(strings.Fields(strings.ToLower(text)), func(w string) bool { return causal[strings.Trim(w, edges)] })
	proved := slices.ContainsFunc(cited, func(f known) bool { return f.Kind == confirmedKind })
	if why && len(c.confirmed) > 0 && !proved {
		return nil, "it cites no confirmed finding"
	}
	if why && len(c.confirmed) == 0 && section != "rootCause" {
		return nil, "nothing is confirmed"
	}
	for _, f := range cited {
		ok := true
		switch {
		case why && len(c.confirmed) > 0:
			ok = f.Kind == confirmedKind || f.Kind == targetKind || slices.ContainsFunc(c.confirmed, func(k known) bool { return slices.Contains(k.cites, f.ID) })
		case why:
			ok = f.Kind == findingKind || f.Kind == measurementKind || f.Kind == outcomeKind
		case section == "done":
			ok = f.Kind != alertKind && f.Kind != findingKind && f.Kind != confirmedKind
		}
		if ok {
			may = append(may, f)
		}
	}
	return may, ""
}

// supports reports whether one fact says everything that a clause says. Clauses
// of the fact that deny, or that say what may be, only support clauses that do.
func (c checker) supports(f known, p clause) bool {
	var usable []clause
	var said []string
	for _, fc := range f.clauses {
		if fc.text != "" && fc.text == p.text && (p.possible || !f.plan) {
			return true // word for word
		}
		if fc.negated == p.negated && (p.possible || !fc.possible && !f.plan) {
			usable, said = append(usable, fc), append(said, fc.words...)
		}
	}
	own := slices.DeleteFunc(slices.Clone(p.words), func(w string) bool { return slices.Contains(c.target, w) })
	if p.negated {
		return len(own) > 0 && slices.ContainsFunc(usable, func(fc clause) bool { return all(own, fc.words) && covers([]clause{fc}, p, own) })
	}
	if f.zero && len(p.numbers) == 0 || !all(own, said) {
		return false
	}
	return covers(usable, p, own)
}

func all(words, in []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(in, w) })
}

// covers reports whether the numbers of p are in clauses that speak of the same.
func covers(clauses []clause, p clause, own []string) bool {
	somewhere := func(says func(clause) bool) bool {
		return slices.ContainsFunc(clauses, func(fc clause) bool {
			return slices.ContainsFunc(own, func(w string) bool { return slices.Contains(fc.words, w) }) && says(fc)
		})
	}
	for _, q := range p.numbers {
		if !somewhere(func(fc clause) bool {
			return slices.ContainsFunc(fc.numbers, func(of quantity) bool {
				return q.saysSame(of) && (of.second == "" || of.second == q.second)
			})
		}) {
			return false
		}
	}
	for _, x := range p.pairs {
		if !somewhere(func(fc clause) bool {
			return slices.ContainsFunc(fc.pairs, func(y pair) bool { return x.link == y.link && x.a.saysSame(y.a) && x.b.saysSame(y.b) })
		}) {
			return false
		}
	}
	return true
}
