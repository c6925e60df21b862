package slack

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/hostile"
	standin "github.com/kmend/kmend/test/slack"
)

// Whatever the texts of an incident hold, Slack makes no mention, no link and no
// button of it, and takes the message.
func TestHostile(t *testing.T) {
	for _, evil := range hostile.Texts() {
		for phase, outcome := range map[incident.Phase]incident.Outcome{incident.AwaitingApproval: "", incident.Escalated: incident.Failed} {
			inc := hostile.Incident(evil, phase, outcome)
			m, ok := Render(inc, Form{Buttons: true})
			if !ok {
				t.Fatal("nothing to tell")
			}
			for name, x := range map[string]Message{"message": m, "details": Details(inc)} {
				b, err := json.Marshal(x.Blocks)
				if err != nil {
					t.Fatal(err)
				}
				if err := standin.CheckBlocks(b); err != nil {
					t.Errorf("%.30q: Slack would refuse the %s: %v", evil, name, err)
				}
				says := Plain(x)
				if raw.MatchString(says) || strings.ContainsFunc(says, obeyed) {
					t.Errorf("%.30q: the %s says %.300q", evil, name, says)
				}
				ids, values := (standin.Message{Blocks: b}).Buttons()
				if want := inc.ID + " " + inc.Plan.Digest(); len(ids) > 0 && (len(ids) != 3 || values[ActionApprove] != want || values[ActionDeny] != want) {
					t.Errorf("%.30q: buttons %q with %q", evil, ids, values)
				}
			}
			if raw.MatchString(m.Text) || strings.ContainsFunc(m.Text, obeyed) || len(m.Text) > 200 {
				t.Errorf("%.30q: the text says %.300q", evil, m.Text)
			}
			if e := Escape(evil); raw.MatchString(e) || strings.ContainsFunc(e, obeyed) || len(e) > maxSection {
				t.Errorf("%.30q is told as %.300q", evil, e)
			}
		}
	}
}

// raw is what Slack would read as markup: what kmend writes itself it escapes.
var raw = regexp.MustCompile(`<[^>]*`)

func obeyed(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }
