package docs

import (
	"strings"
	"unicode"

	"github.com/alecthomas/kong"
)

// Unknown says what of a synopsis's words a program does not have: commands, until
// a word is none, and flags. What stands for a value is not looked at.
func Unknown(node *kong.Node, words []string) string {
	descending := true
	for _, word := range words {
		if name, ok := strings.CutPrefix(word, "-"); ok {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
			if !flag(node, strings.TrimRight(name, ".,;")) {
				return "no flag " + word
			}
			continue
		}
		if !descending {
			continue
		}
		next := child(node, word)
		switch {
		case next != nil:
			node = next
		case len(node.Children) > 0 && word != "..." && unicode.IsLower(rune(word[0])):
			return "no command " + word
		default:
			descending = false
		}
	}
	return ""
}

func child(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name && c.Type == kong.CommandNode {
			return c
		}
	}
	return nil
}

// flag reports whether a command, or one above it, has a flag; --no-NAME is one where it may be negated.
func flag(node *kong.Node, name string) bool {
	for n := node; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if f.Name == name || len(name) == 1 && string(f.Short) == name || f.Tag.Negatable != "" && "no-"+f.Name == name {
				return true
			}
		}
	}
	return name == "help" || name == "h"
}
