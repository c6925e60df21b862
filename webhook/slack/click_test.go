package slack

import (
	"github.com/kmend/kmend/incident"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// testdata holds what Slack's documentation and its SDK's tests show of payloads.
func FuzzParseClick(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no payloads: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		``, `null`, `[]`, `{}`, `{"type":"block_actions"}`, `{"type":"block_actions","actions":[{},{}]}`, `{"type":"block_actions","actions":[null]}`,
		`{"type":"block_actions","user":null,"actions":[{"type":"button","action_id":"kmend.approve","value":""}]}`,
		`{"type":"block_actions","user":{"id":"U1","username":"\u202eada\n approved"},"actions":[{"type":"button","action_id":"kmend.deny","value":"` + someIncident + " " + somePlan + `"}]}`,
		`{"type":"block_actions","user":{"id":"W1","name":"` + strings.Repeat("é", 200) + `"},"actions":[{"type":"button","action_id":"kmend.details","value":"` + someIncident + " " + somePlan + `"}]}`,
		"{\"type\":\"block_actions\",\"user\":{\"id\":\"U1\\n\"}}", "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseClick(b)
		if err != nil {
			if c != (Click{}) || err.Error() == "" {
				t.Fatalf("%+v with error %q", c, err)
			}
			return
		}
		if c.Action != Approve && c.Action != Deny && c.Action != Details || !userForm.MatchString(c.User) || !incident.IsID(c.Incident) || !digestForm.MatchString(c.Plan) {
			t.Fatalf("accepted %+v", c)
		}
		if len(c.UserName) > maxName || !utf8.ValidString(c.UserName) || strings.ContainsAny(c.UserName, "<>&`*\n\r\x1b\u202e@|") {
			t.Fatalf("accepted the name %q", c.UserName)
		}
	})
}

func TestParseClick(t *testing.T) {
	for name, want := range map[string]Click{
		"approve": {Action: Approve, Incident: someIncident, Plan: somePlan, User: "U012AB3CD", UserName: "ada.l", ResponseURL: "https://hooks.slack.com/actions/T0001/2/x"},
		"details": {Action: Details, Incident: someIncident, Plan: somePlan, User: "W012AB3CD", UserName: "Ada L", ResponseURL: "https://hooks.slack.com/actions/T0001/3/x"},
	} {
		b, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseClick(b); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
