package incident

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Episode is one time that the alerts of an incident fired: from its opening, or
// from when they fired again soon after the end, to the next end.
type Episode struct {
	ID         string    `json:"id"`
	ReceivedAt time.Time `json:"receivedAt"`
	ClosedAt   time.Time `json:"closedAt,omitzero"`
	Outcome    Outcome   `json:"outcome,omitempty"` // empty while open
	Reason     string    `json:"reason,omitempty"`
}

// What incidents that came at about the same time have in common.
const (
	SharesNode  = "node"
	SharesCause = "cause"
)

// Parent is the incident that another one is a part of: of those that came at
// about the same time, the first with the same node or the same confirmed cause.
// It says what belongs together and changes neither plan nor decision.
type Parent struct {
	Incident string `json:"incident"` // its first episode
	Shares   string `json:"shares"`   // SharesNode or SharesCause
	What     string `json:"what"`     // the node's name, or the cause
	Number   int    `json:"number"`   // 1, 2, ... in the order in which they were found to be parts of it
}

// Parts are the incidents that are part of one.
type Parts struct {
	Count    int             `json:"count"`
	Open     int             `json:"open"`
	Outcomes map[Outcome]int `json:"outcomes,omitempty"` // of those that ended
	IDs      []string        `json:"ids"`                // the first of them
}

// String says how many they are and how they ended.
func (p Parts) String() string {
	noun := "incidents"
	if p.Count == 1 {
		noun = "incident"
	}
	var how []string
	if p.Open > 0 {
		how = append(how, fmt.Sprintf("%d open", p.Open))
	}
	for _, o := range Outcomes() {
		if n := p.Outcomes[o]; n > 0 {
			how = append(how, fmt.Sprintf("%d %s", n, o))
		}
	}
	return fmt.Sprintf("%d %s with the same node or cause: %s", p.Count, noun, strings.Join(how, ", "))
}

// LoudParts is how many parts of an incident are told of each for itself in any case.
const LoudParts = 5

// Quiet reports whether an incident is told of with what it is a part of only: in a
// storm, what asks nothing of a person now and changed nothing.
func (i Incident) Quiet() bool {
	if i.Parent == nil || i.Parent.Number <= LoudParts || len(i.Executions) > 0 {
		return false
	}
	switch i.Phase {
	case AwaitingApproval, Executing, Verifying:
		return false
	}
	switch i.Outcome {
	case Fixed, Applied, Failed, Undone, Interrupted, Expired:
		return false
	}
	return true
}

var idForm = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}\.[0-9]{3}-[0-9a-f]{8}(\.[0-9]{1,9})?$`)

// IsID reports whether s has the form of an incident's id: when it was received, a
// random part, and the number of its episode from the second on.
func IsID(s string) bool { return idForm.MatchString(s) }

// Root is the id that all episodes of an incident have in common: that of the first.
func (i Incident) Root() string { return cmp.Or(i.First, i.ID) }
