package incident

import (
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// join makes one string of parts that cannot be mistaken for other parts: a
// separator inside a part is escaped.
func join(parts ...string) string {
	for i, p := range parts {
		parts[i] = strings.NewReplacer(`\`, `\\`, "|", `\|`).Replace(p)
	}
	return strings.Join(parts, "|")
}
