package pagerduty

import (
	"strings"

	"github.com/kmend/kmend/incident"
)

// maxSentences bounds the sentences of a summary in a note, in bytes.
const maxSentences = 1000

// summary is the incident in a few sentences, after what kmend itself has to say.
func summary(inc incident.Incident) (lines []string) {
	s := inc.Summary
	if s == nil {
		return nil
	}
	head := "Summary by kmend:"
	if s.By != "" {
		head = "Summary by model " + s.By + ", checked by kmend:"
	}
	size := 0
	for _, part := range s.Sections() {
		if s.By == "" && part.Name == "title" {
			continue // it is in the note
		}
		for _, x := range *part.Sentences {
			line := x.Text + " [" + strings.Join(x.Evidence, ", ") + "]"
			if size += len(line); size > maxSentences {
				return lines
			}
			if len(lines) == 0 {
				lines = append(lines, head)
			}
			lines = append(lines, line)
		}
	}
	return lines
}
