package slack

import (
	"strings"

	"github.com/kmend/kmend/incident"
)

// maxObserved is how many observations the message shows.
const maxObserved = 4

// observed is what metrics, traces and logs say for or against the finding, new
// errors in the logs, and which source did not answer.
func observed(inc incident.Incident) (lines []string) {
	if inc.Diagnosis == nil || inc.Diagnosis.Investigation == nil {
		return nil
	}
	v := inc.Diagnosis.Investigation
	for _, o := range v.Observations {
		if len(lines) == maxObserved {
			break
		}
		said := o.Source + ": " + o.Message
		if o.Stance != "" {
			said = o.Source + " " + string(o.Stance) + " it: " + o.Message
		} else if o.Kind != "log_new_error" {
			continue
		}
		if len(o.Evidence) > 0 {
			said += " (" + strings.Join(o.Evidence, ", ") + ")"
		}
		lines = append(lines, said)
	}
	var absent []string
	for _, s := range v.Sources {
		switch s.Status {
		case incident.SourceFailed:
			lines = append(lines, s.Name+" did not answer: "+s.Reason)
		case incident.SourceAbsent:
			absent = append(absent, s.Name)
		}
	}
	if len(absent) > 0 && len(lines) > 0 {
		lines = append(lines, "Not configured: "+strings.Join(absent, ", "))
	}
	return lines
}
