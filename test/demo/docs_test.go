package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// documented holds what the docs show of the demo's incident to what the demo prints:
// line by line, but for numbers, ids and the name of the machine.
func documented(t *testing.T, out string) {
	t.Helper()
	var printed []string
	for line := range strings.Lines(out) {
		printed = append(printed, shape(line))
	}
	for _, c := range []struct{ doc, head string }{
		{"../../docs/slack.md", "## The message of the demo's incident"},
		{"../../docs/pagerduty.md", "## The notes of the demo's incident"},
	} {
		b, err := os.ReadFile(c.doc)
		if err != nil {
			t.Fatal(err)
		}
		_, section, _ := strings.Cut(string(b), c.head)
		_, block, _ := strings.Cut(section, "```text\n")
		block, _, found := strings.Cut(block, "```")
		if !found {
			t.Errorf("%s has no block of text under %q", c.doc, c.head)
		}
		for line := range strings.Lines(block) {
			want := shape(line)
			var there bool
			for _, p := range printed {
				there = there || strings.HasPrefix(p, want)
			}
			if !there {
				t.Errorf("%s shows a line that the demo does not print; renew it from `make demo`: %s", c.doc, line)
			}
		}
	}
}

var (
	ids     = regexp.MustCompile(`\b[a-z][0-9]+(, [a-z][0-9]+)*\b`)
	hexID   = regexp.MustCompile(`\b[0-9a-f]{8,}\b`)
	numbers = regexp.MustCompile(`[0-9]+([.:-][0-9]+)*`)
	also    = regexp.MustCompile(`; now confirmed: [a-z_]+\.[a-z_]+`) // what else is slow then
	node    = regexp.MustCompile("on node `?[^` ]+`?")
)

// shape is a line without what differs from run to run.
func shape(line string) string {
	line = also.ReplaceAllString(line, "")
	line = node.ReplaceAllString(strings.TrimRight(line, " \n"), "on node X")
	line = ids.ReplaceAllString(hexID.ReplaceAllString(line, "N"), "ID")
	return numbers.ReplaceAllString(line, "N")
}
