package policies

import (
	"slices"

	"github.com/kmend/kmend/incident"
)

// Approval says who may answer for the plans that a rule of the policy matches.
type Approval struct {
	SlackUsers  []string `json:"slackUsers,omitempty" jsonschema:"maxItems=200" jsonschema_description:"Slack user ids, such as U012AB3CD."`
	SlackGroups []string `json:"slackGroups,omitempty" jsonschema:"maxItems=20" jsonschema_description:"Slack user group ids, such as S012AB3CD. Slack is asked who is in them."`
	Approvers   []string `json:"approvers,omitempty" jsonschema:"maxItems=200" jsonschema_description:"Names of approvers in kmend.yaml."`
	Persons     int      `json:"persons,omitempty" jsonschema:"minimum=1,maximum=2" jsonschema_description:"How many different persons have to say yes: 1 or 2. Default 1."`
}

// asking collects who is to be asked from the policies that give leave or ask:
// the lists of the first that has any, because who is on one is not on the other,
// and the most persons that any wants.
func asking(so *incident.Approvers, p policy, answers []said) *incident.Approvers {
	a := p.Approval
	if a == nil || !slices.ContainsFunc(answers, func(s said) bool { return s.leave || s.Effect == incident.RequireApproval }) {
		return so
	}
	merged := incident.Approvers{Persons: max(so.Needed(), a.Persons)}
	if so.Listed() {
		merged.Users, merged.Groups, merged.Names = so.Users, so.Groups, so.Names
	} else {
		merged.Users, merged.Groups, merged.Names = a.SlackUsers, a.SlackGroups, a.Approvers
	}
	return &merged
}

// AskingInSlack reports whether any policy names Slack users or groups.
func (s *Set) AskingInSlack() bool {
	for _, p := range s.policies {
		if a := p.Approval; a != nil && len(a.SlackUsers)+len(a.SlackGroups) > 0 {
			return true
		}
	}
	return false
}
