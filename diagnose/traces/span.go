package traces

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Kind is a span's kind, where it matters here.
type Kind string

const (
	Internal Kind = ""
	Server   Kind = "server"
	Client   Kind = "client"
	Consumer Kind = "consumer" // nobody waits for it
)

// Span is one span of a trace, as Jaeger or Tempo tell it: untrusted.
type Span struct {
	Trace, ID string
	Parent    string `json:",omitempty"` // "": none
	// Follows: the parent did not wait for it.
	Follows  bool `json:",omitempty"`
	Service  string
	Name     string `json:",omitempty"`
	Kind     Kind   `json:",omitempty"`
	Start    int64  // ns since the epoch, by the clock of its host
	Duration int64  // ns
	Error    bool   `json:",omitempty"`
	// Attributes are those of its resource and those that name a peer: the keys in
	// attributes.go.
	Attributes map[string]string `json:",omitempty"`
}

// What times may be, in ns: sums of them do not overflow.
const (
	maxTime     = 1 << 62
	maxDuration = int64(24 * time.Hour)
)

func clamp(n, most int64) int64 { return min(max(0, n), most) }

// maxName bounds what of a name is shown.
const maxName = 64

// shown is a name that somebody's program chose, as text that cannot be taken for
// more than a name.
func shown(name string) string {
	if r := []rune(name); len(r) > maxName {
		name = string(r[:maxName]) + "…"
	}
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-/:@…", r)
	}
	if name == "" || strings.Contains(name, "->") || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return strconv.QuoteToGraphic(name)
	}
	return name
}
