package slack

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/incident"
)

// maxEvidence is how many numbers the details show.
const maxEvidence = 30

// Details are for the one person who asked: the evidence, and the plan's steps
// with everything that must still be true when they are carried out.
func Details(inc incident.Incident) Message {
	title := cut(escaped(clean("Details: "+about(inc))), maxHeader)
	m := Message{Text: title, Blocks: []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, title, false, false))}}
	if d := inc.Diagnosis; d != nil {
		var lines []string
		for _, f := range d.Findings {
			lines = append(lines, fmt.Sprintf("%s: %s (%.0f%%)", f.Verdict, f.Message, 100*f.Share))
		}
		m.Blocks = append(m.Blocks, marked("*Findings*"), plain(lines...), marked("*Evidence*"), plain(evidence(*d)...))
	}
	if inc.Plan != nil {
		m.Blocks = append(m.Blocks, marked(planHead(*inc.Plan)))
		for i, s := range inc.Plan.Steps {
			if i == 10 {
				m.Blocks = append(m.Blocks, plain(fmt.Sprintf("and %d more steps", len(inc.Plan.Steps)-10)))
				break
			}
			m.Blocks = append(m.Blocks, plain(step(i+1, s)...))
		}
		m.Blocks = append(m.Blocks, marked("plan "+code(inc.Plan.Digest())))
	}
	return m
}

func evidence(d incident.Diagnosis) []string {
	cited := map[string]bool{}
	for _, f := range d.Findings {
		for _, id := range f.Evidence {
			cited[id] = true
		}
	}
	var lines, others []string
	for _, e := range d.Evidence {
		line := fmt.Sprintf("%s %s %s %.6g %s", e.ID, e.Probe, e.Metric, e.Value, e.Unit)
		if e.Subject != "" {
			line += " of " + e.Subject
		}
		if e.Lost > 0 {
			line += fmt.Sprintf(", %d events lost", e.Lost)
		}
		if cited[e.ID] {
			lines = append(lines, line)
		} else {
			others = append(others, line)
		}
	}
	all := append(lines, others...) // what the findings cite first
	if len(all) > maxEvidence {
		all = append(all[:maxEvidence:maxEvidence], fmt.Sprintf("and %d more", len(all)-maxEvidence))
	}
	return all
}

func step(n int, s incident.Step) []string {
	lines := []string{fmt.Sprintf("%d. %s: %s", n, s.Name, s.Action)}
	for _, name := range slices.Sorted(maps.Keys(s.With)) {
		lines = append(lines, fmt.Sprintf("    with %s = %v", name, s.With[name]))
	}
	if p := s.Preview; p != nil {
		lines = append(lines, "    "+p.Summary, fmt.Sprintf("    %s → %s", p.Before, p.After), "    dry run: "+p.Server)
		for _, name := range slices.Sorted(maps.Keys(p.Preconditions)) {
			lines = append(lines, fmt.Sprintf("    only while %s is %s", name, p.Preconditions[name]))
		}
	}
	return lines
}
