package llm

import (
	"regexp"
	"strings"
	"unicode"
)

// clause is a part of a sentence, or of a fact, that says one thing.
type clause struct {
	text     string
	words    []string // stems, and names as they are; numbers and the words of every report left out
	numbers  []quantity
	pairs    []pair
	negated  bool
	possible bool // it says what may or should be, not what is
	past     bool // it has a verb of the past, which no "be" makes a part of what may be
}

// pair are two numbers whose order means something: "3 of 4", "from 3 to 4".
type pair struct {
	link string
	a, b quantity
}

var (
	arrows    = strings.NewReplacer("->", " to ", "→", " to ", "←", ", ", "·", ";", "…", "", "’", "'", "–", "-")
	clauseEnd = regexp.MustCompile(`[;:,()]+(\s|$)|[.!?]+(\s|$)|\(|\b(and|but|while|whereas|as|so|then|because|since)\s`)
	edges     = ".,;:!?()\"'“”‘’%~≈<>±+"
)

// clauses splits a text.
func clauses(text string) []clause {
	var all []clause
	for _, part := range clauseEnd.Split(arrows.Replace(text), -1) {
		if c := newClause(part); len(c.words)+len(c.numbers) > 0 || c.negated {
			all = append(all, c)
		}
	}
	return all
}

func newClause(text string) (c clause) {
	fields := strings.Fields(text)
	c.text = strings.Trim(strings.ToLower(strings.Join(fields, " ")), edges)
	link, last, be := "", -1, false // the word between two numbers, which number came last, "be"
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		next := ""
		if i+1 < len(fields) {
			next = fields[i+1]
		}
		if q, used, ok := parseQuantity(f, next); ok {
			if q.noun == "" && i+1+used < len(fields) {
				q.noun = noun(fields[i+1+used])
			}
			i += used
			if last >= 0 && link != "" {
				a := &c.numbers[last]
				a.takeUnit(q)
				q.second = link
				c.pairs = append(c.pairs, pair{link, *a, q})
			} else if link == "to" {
				q.second = link
			}
			c.numbers, last, link = append(c.numbers, q), len(c.numbers), ""
			continue
		}
		w := strings.Trim(f, edges)
		switch lower := strings.ToLower(w); {
		case w == "" || w == "-":
		case negations[lower] || strings.HasSuffix(lower, "n't"):
			c.negated = true
		case possibilities[lower]:
			c.possible = true
		case lower == "of" || lower == "to":
			link = lower
		case common[lower]:
			be = be || lower == "be"
		case isName(w):
			c.words, link = append(c.words, w), ""
		default:
			c.words, link = append(c.words, stem(lower)), ""
			c.past = c.past || !be && (strings.HasSuffix(lower, "ed") || irregular[lower] != "")
		}
	}
	return c
}

// noun is what a number without a unit counts: the word behind it, unless that is
// a word of every report.
func noun(word string) string {
	w := strings.ToLower(strings.Trim(word, edges))
	if w == "" || common[w] || possibilities[w] || negations[w] || w == "of" || w == "to" || isName(w) {
		return ""
	}
	if _, _, ok := parseQuantity(w, ""); ok {
		return ""
	}
	return stem(w)
}

// isName reports whether a word is no word of a language: it has digits,
// punctuation, or capital letters behind a small one.
func isName(w string) bool {
	small := false
	for _, r := range w {
		switch {
		case unicode.IsUpper(r) && small:
			return true
		case unicode.IsLower(r):
			small = true
		case !unicode.IsLetter(r):
			return true
		}
	}
	return false
}

// stem takes the commonest English endings off. It need not give a word, only
// the same for the forms of one.
func stem(w string) string {
	if s, ok := irregular[w]; ok {
		return s
	}
	for _, end := range []string{"ing", "ed", "es", "s", "e"} {
		if s, ok := strings.CutSuffix(w, end); ok && len(s) >= 3 {
			return strings.TrimSuffix(s, "e")
		}
	}
	return w
}

// names are the names among words, and the parts that they are written with: pod
// shop/cart-1/app is also spoken of as cart-1. A part that is a word of a language
// is left out: who names a pod could give orders with it.
func names(words []string) (all []string) {
	for _, w := range words {
		if !isName(w) {
			continue
		}
		all = append(all, w)
		for part := range strings.SplitSeq(w, "/") {
			if isName(part) && part != w {
				all = append(all, part)
			}
		}
	}
	return all
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

var irregular = map[string]string{
	"fell": "fall", "fallen": "fall", "rose": "ris", "risen": "ris", "grew": "grow", "undone": "undo", "held": "hold",
	"ran": "run", "lost": "lose", "broken": "break", "broke": "break", "written": "write", "wrote": "write", "stole": "steal", "stolen": "steal",
}

var negations = set("not no never none nothing nobody without neither nor cannot nowhere hardly unless instead except")

// possibilities mark what is no statement about what is.
var possibilities = set("would should could may might must will shall can if whether needs need proposes suggests least threshold")

// common are the words that any report may use: they carry no claim about what
// was measured or done. What is not here has to be in a fact. To add a word,
// think of the worst sentence that it can make of true facts.
var common = set(`
a an the this that these those it its they their them there here which who whom whose what when where how why
or also both each other same such own any some per via
in on at for from by with within during about between into over under through along of to
is are was were be been being has have had does do did
kmend alert alerts target incident problem issue service application app process workload kernel
time period window moment one
shows showed show says said plan seen see reported reports report measurement measured measures evidence finding findings
went spent spend spends took take takes used uses using
slow impact impacted affected
check look review consider watch ask compare decide keep read learn follow make sure
person team runbook policy someone people owner again further next please
cause root reason caused due
amount part state states value figure
`)

// causal words claim a cause wherever they stand.
var causal = set("cause causes caused root reason due because since responsible blame culprit origin explains explain stems led leads trigger triggered")
