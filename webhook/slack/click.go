package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/incident"
)

// Action is what a button asks for.
type Action string

// The buttons of a message about an incident.
const (
	Approve Action = "kmend.approve"
	Deny    Action = "kmend.deny"
	Details Action = "kmend.details"
)

// Click is one click of one person on a button of a message.
type Click struct {
	Action   Action
	Incident string
	Plan     string // digest of the plan that the message showed
	User     string // Slack's id of who clicked
	UserName string // as Slack calls them: for people, it proves nothing
	// ResponseURL is where Slack takes an answer that only this person sees.
	ResponseURL string
}

// errOther is a payload that is none of a button of ours.
var errOther = errors.New("not a click on a button of kmend")

var (
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	userForm   = regexp.MustCompile(`^[UW][A-Z0-9]{1,30}$`)
)

// maxName bounds a user's name, in bytes.
const maxName = 80

// ParseClick reads the JSON of an interaction. Of everything that Slack sends it
// reads the few fields that it needs; the errors say which one is wrong, and
// never what it holds.
func ParseClick(payload []byte) (Click, error) {
	var p struct {
		Type string `json:"type"`
		User struct {
			ID       string `json:"id"`
			Username string `json:"username"`
			Name     string `json:"name"`
		} `json:"user"`
		ResponseURL string `json:"response_url"`
		Actions     []struct {
			ActionID string `json:"action_id"`
			Type     string `json:"type"`
			Value    string `json:"value"`
		} `json:"actions"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return Click{}, errors.New("the payload is not the JSON of an interaction")
	}
	if p.Type != "block_actions" || len(p.Actions) != 1 || p.Actions[0].Type != "button" {
		return Click{}, errOther
	}
	a := p.Actions[0]
	c := Click{Action: Action(a.ActionID), User: p.User.ID, UserName: name(p.User.Username, p.User.Name), ResponseURL: p.ResponseURL}
	if c.Action != Approve && c.Action != Deny && c.Action != Details {
		return Click{}, errOther
	}
	c.Incident, c.Plan, _ = strings.Cut(a.Value, " ")
	for _, f := range []struct {
		name, value string
		ok          func(string) bool
	}{{"user.id", c.User, userForm.MatchString}, {"incident in actions[0].value", c.Incident, incident.IsID}, {"plan in actions[0].value", c.Plan, digestForm.MatchString}} {
		if !f.ok(f.value) {
			return Click{}, fmt.Errorf("%s is not of its form", f.name)
		}
	}
	return c, nil
}

// name is the first that is not empty, without what could be taken for more than
// a name on a timeline.
func name(names ...string) string {
	for _, n := range names {
		n = strings.Map(func(r rune) rune {
			switch {
			case r == ' ', r == '.', r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', unicode.IsLetter(r):
				return r
			}
			return -1
		}, n)
		for len(n) > maxName {
			_, size := utf8.DecodeLastRuneInString(n)
			n = n[:len(n)-size]
		}
		if n = strings.TrimSpace(n); n != "" {
			return n
		}
	}
	return ""
}
