package report

import (
	"strings"

	"github.com/kmend/kmend/incident"
)

// summary writes the incident in a few sentences, each with what it rests on.
func (p *page) summary(s *incident.Summary) {
	if s == nil || s.Len() == 0 {
		return
	}
	p.blank()
	label := "Summary"
	for _, part := range s.Sections() {
		if s.By == "" && part.Name == "title" {
			continue // it is the report's
		}
		for _, x := range *part.Sentences {
			p.field(label, 4, plain(x.Text), dim(" ["+strings.Join(x.Evidence, ", ")+"]"))
			label = ""
		}
	}
	if s.By != "" {
		p.field(label, 1, dim("by model "+s.By+"; kmend has checked every sentence against what it names"))
	}
}
