package docs

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Command is one that a page shows: a line of an indented block, or of a block in sh or in no
// language, that begins with one of programs; and in any block what comes after "$ ".
type Command struct {
	Page string
	Line int
	Args []string // the program, without bin/, and what it is given
}

func (c Command) String() string {
	return fmt.Sprintf("%s:%d: %s", c.Page, c.Line, strings.Join(c.Args, " "))
}

// programs are those whose name at the beginning of an indented line makes it a command.
var programs = map[string]bool{
	"kmend": true, "kmend-agent": true, "make": true, "kubectl": true, "helm": true, "go": true, "git": true, "curl": true,
	"docker": true, "buildah": true, "diff": true, "sha256sum": true, "install": true, "systemctl": true, "amtool": true,
	"openssl": true, "psql": true, "pg_dump": true, "sqlite3": true, "setcap": true, "getcap": true, "cosign": true,
}

// Commands are those of a page.
func (p Page) Commands() ([]Command, error) {
	var all []Command
	for _, b := range p.Blocks {
		session := slices.ContainsFunc(b.Lines, func(line string) bool { return strings.HasPrefix(line, "$ ") })
		for i := 0; i < len(b.Lines); i++ {
			line, at := strings.TrimSpace(b.Lines[i]), b.Line+i
			rest, prompted := strings.CutPrefix(line, "$ ")
			switch {
			case prompted:
				line = rest
			case session || b.Language != "" && b.Language != "sh":
				continue
			}
			for strings.HasSuffix(line, `\`) && i+1 < len(b.Lines) {
				i++
				line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(b.Lines[i])
			}
			if first, _, _ := strings.Cut(line, " "); !prompted && b.Language != "sh" && !programs[strings.TrimPrefix(first, "bin/")] || synopsis(line) || line == "" || line[0] == '#' {
				continue
			}
			calls, err := parse(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %q is no command of a shell: %w", p.Path, at, line, err)
			}
			for _, args := range calls {
				all = append(all, Command{p.Path, at, args})
			}
		}
	}
	return all, nil
}

// synopsis reports whether a line says what may be given, and is none that one could type.
func synopsis(line string) bool { return strings.Contains(line, " [") || strings.Contains(line, "| -") }

// Synopses are what a page says of how program is called, in spans and in lines
// like `kmend pause [--reason TEXT]`: one word each, brackets and bars left out.
func (p Page) Synopses(program string) []Command {
	var all []Command
	add := func(text string, line int) {
		if !strings.HasPrefix(text, program+" ") || strings.Contains(text, "... ") { // a message
			return
		}
		if calls, err := parse(text); err == nil && !synopsis(text) && len(calls) == 1 {
			all = append(all, Command{p.Path, line, calls[0]})
			return
		}
		args := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" []|()", r) })
		all = append(all, Command{p.Path, line, args})
	}
	for _, s := range p.Spans {
		add(s.Text, s.Line)
	}
	for _, b := range p.Blocks {
		for i, line := range b.Lines {
			if b.Language == "" && synopsis(line) {
				add(line, b.Line+i)
			}
		}
	}
	return all
}

// parse splits a line as a shell does; variables stay as they are written.
func parse(line string) ([][]string, error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, err
	}
	var calls [][]string
	printer := syntax.NewPrinter()
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		var args []string
		for _, word := range call.Args {
			var b strings.Builder
			for _, part := range word.Parts {
				switch part := part.(type) {
				case *syntax.SglQuoted:
					b.WriteString(part.Value)
				case *syntax.DblQuoted:
					for _, inner := range part.Parts {
						_ = printer.Print(&b, inner)
					}
				default:
					_ = printer.Print(&b, part)
				}
			}
			args = append(args, b.String())
		}
		args[0] = strings.TrimPrefix(args[0], "bin/")
		calls = append(calls, args)
		return true
	})
	return calls, nil
}
