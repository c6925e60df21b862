package report

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/hostile"
)

// Whatever the texts of an incident hold, the report has no character that a
// terminal obeys, no line that is longer than the page, and an end.
func TestHostile(t *testing.T) {
	for _, evil := range hostile.Texts() {
		for phase, outcome := range map[incident.Phase]incident.Outcome{incident.AwaitingApproval: "", incident.Escalated: incident.Failed} {
			inc := hostile.Incident(evil, phase, outcome)
			var text, list, json bytes.Buffer
			errs := []error{Text(&text, inc, DefaultOptions()), List(&list, []incident.Incident{inc})}
			if len(evil) < 10_000 { // JSON is not shortened
				errs = append(errs, JSON(&json, inc))
			}
			if err := errors.Join(errs...); err != nil {
				t.Fatalf("%.30q: %v", evil, err)
			}
			for name, out := range map[string]string{"text": text.String(), "list": list.String(), "json": json.String()} {
				if i := strings.IndexFunc(out, obeyed); i >= 0 {
					t.Errorf("%.30q: the %s has %q", evil, name, out[max(0, i-20):min(len(out), i+20)])
				}
			}
			for line := range strings.Lines(text.String()) {
				if n := cells(strings.TrimRight(line, "\n")); n > DefaultWidth {
					t.Fatalf("%.30q: a line of %d columns", evil, n)
				}
			}
			if n := strings.Count(text.String(), "\n"); n > 1000 || strings.Count(list.String(), "\n") != 2 || list.Len() > 20_000 {
				t.Errorf("%.30q: the report has %d lines, the list %q", evil, n, fmt.Sprintf("%.300s", list.String()))
			}
		}
	}
}

func obeyed(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }
