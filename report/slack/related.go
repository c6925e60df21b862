package slack

import (
	"fmt"

	"github.com/kmend/kmend/incident"
)

// loudParts is how many parts of an incident have messages of their own in any case.
const loudParts = 5

// quiet reports whether an incident is told of in the message of what it is a
// part of only: in a storm, what asks nothing of a person and changed nothing.
func quiet(inc incident.Incident) bool {
	if inc.Parent == nil || inc.Parent.Number <= loudParts || len(inc.Executions) > 0 {
		return false
	}
	switch inc.Phase {
	case incident.AwaitingApproval, incident.Executing, incident.Verifying:
		return false
	}
	switch inc.Outcome {
	case incident.Fixed, incident.Failed, incident.Undone, incident.Interrupted, incident.Expired:
		return false
	}
	return true
}

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
