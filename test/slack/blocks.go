package slack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"unicode/utf16"
)

// check says with which error Slack would refuse a message, "" when it would not.
func (s *Server) check(args map[string]string) string {
	if args["text"] == "" && args["blocks"] == "" {
		return "no_text"
	}
	if length(args["text"]) > 40000 {
		return "msg_too_long"
	}
	if args["link_names"] == "1" || args["link_names"] == "true" || args["parse"] == "full" {
		s.problem("the message asks Slack to make mentions of names")
	}
	if markup.MatchString(args["text"]) {
		s.problem("the text has markup: %q", args["text"])
	}
	if args["blocks"] == "" {
		return ""
	}
	if err := CheckBlocks([]byte(args["blocks"])); err != nil {
		s.problem("blocks: %v", err)
		return "invalid_blocks"
	}
	return ""
}

// markup is what Slack makes a mention or a link of. kmend's messages have none but
// the links that are link.
var markup = regexp.MustCompile(`<[@!#a-z][^>]*>?`)

// link is a link to a page of Grafana with kmend's own label, which shows the host.
var link = regexp.MustCompile(`^<https?://([^/?#|<>\s]+)[^|<>\s]*\|(Panel|Image) on ([^|<>\s]+)>$`)

// foreign is the first markup in a text that is no such link, "" when there is none.
func foreign(text string) string {
	for _, m := range markup.FindAllString(text, -1) {
		if parts := link.FindStringSubmatch(m); parts == nil || parts[1] != parts[3] {
			return m
		}
	}
	return ""
}

type textObject struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Verbatim bool   `json:"verbatim"`
}

type block struct {
	Type     string          `json:"type"`
	BlockID  string          `json:"block_id"`
	Text     *textObject     `json:"text"`
	Fields   []textObject    `json:"fields"`
	Elements json.RawMessage `json:"elements"`
}

type button struct {
	Type     string      `json:"type"`
	ActionID string      `json:"action_id"`
	Text     *textObject `json:"text"`
	Value    string      `json:"value"`
	Style    string      `json:"style"`
}

// CheckBlocks holds the limits of Block Kit, and that nothing in the blocks is
// read as a mention or made a link.
func CheckBlocks(raw []byte) error {
	var blocks []block
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return err
	}
	if len(blocks) == 0 || len(blocks) > 50 {
		return fmt.Errorf("%d blocks; want 1 to 50", len(blocks))
	}
	for i, b := range blocks {
		if err := b.check(); err != nil {
			return fmt.Errorf("block %d (%s): %w", i, b.Type, err)
		}
	}
	return nil
}

func (b block) check() error {
	if length(b.BlockID) > 255 {
		return fmt.Errorf("block_id is too long")
	}
	switch b.Type {
	case "header":
		if b.Text == nil || b.Text.Type != "plain_text" {
			return fmt.Errorf("a header has plain_text")
		}
		return b.Text.check(150)
	case "section":
		if b.Text == nil {
			return fmt.Errorf("no text")
		}
		return b.Text.check(3000)
	case "context":
		var elements []textObject
		if err := json.Unmarshal(b.Elements, &elements); err != nil || len(elements) == 0 || len(elements) > 10 {
			return fmt.Errorf("%d elements (%w); want 1 to 10", len(elements), err)
		}
		for _, e := range elements {
			if err := e.check(3000); err != nil {
				return err
			}
		}
		return nil
	case "actions":
		return b.buttons()
	case "divider":
		return nil
	}
	return fmt.Errorf("the stand-in knows no such block")
}

func (b block) buttons() error {
	var elements []button
	if err := json.Unmarshal(b.Elements, &elements); err != nil || len(elements) == 0 || len(elements) > 25 {
		return fmt.Errorf("%d elements (%w); want 1 to 25", len(elements), err)
	}
	ids := map[string]bool{}
	for _, e := range elements {
		switch {
		case e.Type != "button", e.Text == nil, e.Text.Type != "plain_text":
			return fmt.Errorf("element %+v is no button with plain_text", e)
		case length(e.Value) > 2000, length(e.ActionID) > 255, e.ActionID == "", ids[e.ActionID]:
			return fmt.Errorf("action_id %q or its value is too long, empty or there twice", e.ActionID)
		case e.Style != "" && e.Style != "primary" && e.Style != "danger":
			return fmt.Errorf("style %q", e.Style)
		}
		ids[e.ActionID] = true
		if err := e.Text.check(75); err != nil {
			return err
		}
	}
	return nil
}

func (t textObject) check(limit int) error {
	switch {
	case t.Type != "plain_text" && t.Type != "mrkdwn":
		return fmt.Errorf("text type %q", t.Type)
	case t.Text == "":
		return fmt.Errorf("empty text")
	case length(t.Text) > limit:
		return fmt.Errorf("text of %d characters; at most %d", length(t.Text), limit)
	case t.Type == "mrkdwn" && foreign(t.Text) != "", t.Type != "mrkdwn" && markup.MatchString(t.Text):
		return fmt.Errorf("markup in %q", t.Text)
	case t.Type == "mrkdwn" && !t.Verbatim:
		return fmt.Errorf("mrkdwn that is not verbatim: Slack makes links and mentions of what looks like one")
	}
	return nil
}

// length counts as JavaScript does.
func length(s string) int { return len(utf16.Encode([]rune(s))) }
