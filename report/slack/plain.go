package slack

import (
	"strings"

	"github.com/slack-go/slack"
)

// Plain is how a message reads: its blocks as text, buttons in brackets.
func Plain(m Message) string {
	var parts []string
	for _, b := range m.Blocks {
		switch b := b.(type) {
		case *slack.HeaderBlock:
			parts = append(parts, b.Text.Text)
		case *slack.SectionBlock:
			parts = append(parts, b.Text.Text)
		case *slack.ContextBlock:
			for _, e := range b.ContextElements.Elements {
				if t, ok := e.(*slack.TextBlockObject); ok {
					parts = append(parts, t.Text)
				}
			}
		case *slack.ActionBlock:
			var buttons []string
			for _, e := range b.Elements.ElementSet {
				if t, ok := e.(*slack.ButtonBlockElement); ok {
					buttons = append(buttons, "["+t.Text.Text+"]")
				}
			}
			parts = append(parts, strings.Join(buttons, " "))
		}
	}
	return strings.Join(parts, "\n\n")
}
