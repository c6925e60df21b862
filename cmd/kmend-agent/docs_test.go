package main

import (
	"context"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/kmend/kmend/test/docs"
)

// Every command of the agent that a page shows is one that it takes; capabilities,
// the one that ends, is run.
func TestDocumentedCommands(t *testing.T) {
	// A new one for each: what one command sets stays in its structs.
	parser := func() *kong.Kong {
		p, err := kong.New(&cli{}, kong.BindTo(t.Context(), (*context.Context)(nil)), kong.Bind(&output{}))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	pages, err := docs.Pages("../..")
	if err != nil {
		t.Fatal(err)
	}
	var shown int
	for _, p := range pages {
		commands, err := p.Commands()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			if c.Args[0] != "kmend-agent" {
				continue
			}
			shown++
			if _, err := parser().Parse(c.Args[1:]); err != nil {
				t.Errorf("%s: %v", c, err)
			}
			if c.Args[1] != "serve" {
				if status, _, stderr := command(t.Context(), c.Args[1:]...); status != exitOK {
					t.Errorf("%s: status %d %s", c, status, stderr)
				}
			}
		}
		for _, c := range p.Synopses("kmend-agent") {
			if why := docs.Unknown(parser().Model.Node, c.Args[1:]); why != "" {
				t.Errorf("%s: %s", c, why)
			}
		}
	}
	if shown < 3 {
		t.Errorf("%d commands found only", shown)
	}
}
