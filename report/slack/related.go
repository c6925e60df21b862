package slack

import (
	"fmt"

	"github.com/kmend/kmend/incident"
)

// related is how often its alerts fired, what it is a part of and what is a part of it.
func related(inc incident.Incident) (lines []string) {
	if n := len(inc.Episodes); n > 1 {
		before := inc.Episodes[n-2]
		lines = append(lines, fmt.Sprintf("*Fired* %d times, before at %s until %s: %s", inc.Episode, stamp(before.ReceivedAt), stamp(before.ClosedAt), code(string(before.Outcome))))
	}
	if up := inc.Parent; up != nil {
		lines = append(lines, fmt.Sprintf("*Part of* %s with the same %s %s", code(up.Incident), up.Shares, code(up.What)))
	}
	if inc.Parts != nil {
		lines = append(lines, "*Parts* "+inc.Parts.String())
	}
	return lines
}
