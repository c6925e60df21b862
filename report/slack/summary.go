package slack

import (
	"strings"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/incident"
)

// summary is the incident in a few sentences, each with what it rests on. Who wrote it
// is said; a model's words are hostile text as all others.
func summary(inc incident.Incident) []slack.Block {
	s := inc.Summary
	if s == nil || s.Len() == 0 {
		return nil
	}
	head := "*Summary* by kmend"
	if s.By != "" {
		head = "*Summary* by model " + code(s.By) + ", checked by kmend"
	}
	var lines []string
	for _, part := range s.Sections() {
		if s.By == "" && part.Name == "title" {
			continue // it is the message's
		}
		for _, x := range *part.Sentences {
			lines = append(lines, cut(x.Text, maxLine-100)+" ["+cut(strings.Join(x.Evidence, ", "), 80)+"]")
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return []slack.Block{marked(head), plain(lines...)}
}
