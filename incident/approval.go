package incident

import (
	"cmp"
	"slices"
	"time"
)

// Approvers are those who may answer for a plan, and how many of them have to
// say yes. With no list at all every approver of the configuration may.
type Approvers struct {
	Users   []string `json:"users,omitempty"`   // Slack user ids
	Groups  []string `json:"groups,omitempty"`  // Slack user group ids
	Names   []string `json:"names,omitempty"`   // approvers of the configuration
	Persons int      `json:"persons,omitempty"` // different persons that have to say yes; 0 is 1
}

// Needed is how many persons have to say yes, at least 1.
func (a *Approvers) Needed() int {
	if a == nil {
		return 1
	}
	return max(a.Persons, 1)
}

// Listed reports whether a names anybody, so that others may not answer.
func (a *Approvers) Listed() bool {
	return a != nil && len(a.Users)+len(a.Groups)+len(a.Names) > 0
}

// Lets reports whether a lets the person of an answer answer, its groups left aside.
func (a *Approvers) Lets(by Approval) bool {
	if !a.Listed() {
		return by.Name != ""
	}
	return by.Name != "" && slices.Contains(a.Names, by.Name) || by.SlackUser != "" && slices.Contains(a.Users, by.SlackUser)
}

// Approval is a person's answer to require_approval.
type Approval struct {
	Incident string    `json:"incident"`
	Plan     string    `json:"plan"` // Plan.Digest that was shown
	Approve  bool      `json:"approve"`
	By       string    `json:"by"` // for people
	At       time.Time `json:"at"`
	// Name and SlackUser are what is known of the person: the name of an approver
	// of the configuration, the id of a Slack user, or both where the
	// configuration says that they are one.
	Name      string `json:"name,omitempty"`
	SlackUser string `json:"slackUser,omitempty"`
}

// SamePerson reports whether two answers come from one person: either name of
// the two is the same. What is known of neither is told apart by By.
func (a Approval) SamePerson(b Approval) bool {
	if cmp.Or(a.Name, a.SlackUser) == "" || cmp.Or(b.Name, b.SlackUser) == "" {
		return a.By == b.By
	}
	return a.Name != "" && a.Name == b.Name || a.SlackUser != "" && a.SlackUser == b.SlackUser
}

// Approved counts the different persons that said yes to the plan with a digest.
func Approved(answers []Approval, digest string) int {
	var yes []Approval
	for _, a := range answers {
		if a.Approve && a.Plan == digest && !slices.ContainsFunc(yes, a.SamePerson) {
			yes = append(yes, a)
		}
	}
	return len(yes)
}
