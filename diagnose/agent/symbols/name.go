package symbols

import (
	"strings"
	"unicode"

	"github.com/ianlancetaylor/demangle"
)

const (
	maxName    = 256  // bytes shown
	maxMangled = 4096 // bytes demangled
)

// readable is a symbol's name for people: demangled, without a version or the
// parameters, printable and short.
func readable(name string) (out string) {
	name, _, _ = strings.Cut(name, "@")
	if len(name) > maxMangled || !(strings.HasPrefix(name, "_Z") || strings.HasPrefix(name, "_R") || strings.HasPrefix(name, "__Z")) {
		return printable(name)
	}
	// The demangler reads what a hostile file says.
	defer func() {
		if recover() != nil {
			out = printable(name)
		}
	}()
	return printable(demangle.Filter(name, demangle.NoParams, demangle.MaxLength(10)))
}

// printable keeps a terminal and a log safe from names that others chose.
func printable(name string) string {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName-3], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// goName is a Go function as a traceback shows it: what a generic function is
// instantiated with is long and of no use.
func goName(name string) string {
	if from, to := strings.IndexByte(name, '['), strings.LastIndexByte(name, ']'); from >= 0 && to > from {
		name = name[:from] + "[...]" + name[to+1:]
	}
	return printable(name)
}
