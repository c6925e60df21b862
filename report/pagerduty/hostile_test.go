package pagerduty

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/hostile"
)

// Whatever the texts of an incident hold, a note begins with kmend's own head, is
// short, and has nothing that is made a link or obeyed; so have the fields of a page.
func TestHostile(t *testing.T) {
	for _, evil := range hostile.Texts() {
		for phase, outcome := range map[incident.Phase]incident.Outcome{incident.AwaitingApproval: "", incident.Escalated: incident.Failed} {
			inc := hostile.Incident(evil, phase, outcome)
			notes := Notes(inc, "")
			if len(notes) == 0 {
				t.Fatal("nothing to tell")
			}
			for _, n := range notes {
				if !strings.HasPrefix(n, "kmend "+inc.ID+": ") || strings.Count(n, "kmend "+inc.ID+":") != 1 {
					t.Errorf("%.30q: the note begins with %.100q", evil, n)
				}
				safe(t, evil, "note", n, maxNote)
			}
			for name, v := range details(inc) {
				safe(t, evil, name, v, maxNote)
			}
		}
		alert := incident.Incident{DedupKey: "group\n", Alerts: []incident.Alert{{Labels: map[string]string{"key": evil}}}}
		if key := DedupKey(alert, "key"); len(key) > 255 {
			t.Errorf("%.30q: a dedup key of %d bytes", evil, len(key))
		}
	}
}

func safe(t *testing.T, evil, what, s string, limit int) {
	t.Helper()
	if len(s) > limit || !utf8.ValidString(s) || strings.Contains(s, "://") ||
		strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }) {
		t.Errorf("%.30q: the %s has %d bytes: %.300q", evil, what, len(s), s)
	}
}
