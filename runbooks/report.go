package runbooks

import (
	"strings"
	"unicode"

	"github.com/kmend/kmend/internal/document"
)

// report checks that a runbook either acts or tells a person what to do, and
// compiles what it tells.
func (l *loader) report(b *book) (errs document.Errors) {
	_, acts := b.doc.Root.At("steps")
	node, tells := b.doc.Root.At("report")
	switch {
	case !acts && !tells:
		return document.Errors{b.doc.Root.Errorf(`missing field "steps" or "report" in the document: what is done, or text that tells a person what to do`)}
	case !tells:
		return nil
	case acts:
		return document.Errors{node.Errorf(`report stands beside steps; want one of them: a report is for a cause that no action helps against`)}
	}
	for _, field := range []string{"verify", "undo"} {
		if at, there := b.doc.Root.At(field); there {
			errs = append(errs, at.Errorf("%s stands beside report; nothing is changed, so there is nothing to verify or to undo", field))
		}
	}
	t, issues := l.env.Template(b.Report)
	if issues == nil {
		issues = t.Words()
	}
	for _, issue := range issues {
		errs = append(errs, node.ErrorfInside(issue.Offset, "report: %s", issue.Message))
	}
	b.report = t
	return errs
}

// maxQuoted bounds one value in a report, in characters. A kernel's name of a lock
// or a message of a finding is shorter; an alert's label may be of any length.
const maxQuoted = 500

// quoted is a value as a report shows it: on one line, and cut, so that a label
// of an alert cannot write lines that look like the runbook's own.
func quoted(value string) string {
	value = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(value, "\uFFFD"))
	if runes := []rune(value); len(runes) > maxQuoted {
		return string(runes[:maxQuoted]) + "…"
	}
	return value
}
