package incident

import (
	"net"
	"strings"
)

// SameNode reports whether two names of nodes may be one machine's: a host is
// known by its full name here and by its short one there, in any case. Addresses
// have no short form.
func SameNode(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	shortA, restA, _ := strings.Cut(a, ".")
	shortB, restB, _ := strings.Cut(b, ".")
	return a == b || shortA == shortB && (restA == "" || restB == "") && net.ParseIP(a) == nil && net.ParseIP(b) == nil
}
