package report

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/kmend/kmend/incident"
)

// List writes a table of incidents, one line each, without colours.
func List(w io.Writer, incidents []incident.Incident) error {
	if len(incidents) == 0 {
		_, err := io.WriteString(w, "no incidents\n")
		return err
	}
	rows := [][]string{{"ID", "RECEIVED (UTC)", "TOOK", "STATE", "CAUSE", "ALERT", "TARGET"}}
	for _, inc := range incidents {
		rows = append(rows, row(inc))
	}
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			r[i] = cut(clean(r[i]), 80)
			widths[i] = max(widths[i], cells(r[i]))
		}
	}
	p := &page{width: 1 << 20}
	for _, r := range rows {
		var spans []span
		for i, text := range r {
			spans = append(spans, plain(pad(text, widths[i]+2)))
		}
		p.line(spans...)
	}
	return p.flush(w)
}

func row(inc incident.Incident) []string {
	state := string(inc.Phase)
	if inc.Outcome != "" {
		state = string(inc.Outcome)
	}
	took_, cause, alert := "open", "-", "-"
	if !inc.ClosedAt.IsZero() {
		took_ = took(inc.ClosedAt.Sub(inc.ReceivedAt))
	}
	if inc.Diagnosis != nil {
		cause = string(inc.Diagnosis.Verdict)
		if root, ok := inc.Diagnosis.RootCause(); ok {
			cause = string(root.Cause)
		}
	}
	if len(inc.Alerts) > 0 {
		alert = cmp.Or(inc.Alerts[0].Name(), "unnamed")
	}
	if inc.Test {
		alert += " (test)"
	}
	if inc.Episode > 1 {
		alert += fmt.Sprintf(" (fired %d times)", inc.Episode)
	}
	about := inc.Target.String()
	if inc.Parts != nil {
		about += fmt.Sprintf(" (and %d more)", inc.Parts.Count)
	} else if inc.Parent != nil {
		about += " (part of " + inc.Parent.Incident + ")"
	}
	return []string{inc.ID, inc.ReceivedAt.UTC().Format(time.DateTime), took_, state, cause, alert, about}
}
