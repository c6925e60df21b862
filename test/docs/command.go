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
	Args []string // the program, without sudo and bin/, and what it is given
	Out  string   // file that its standard output goes to, or ""
}

func (c Command) String() string {
	return fmt.Sprintf("%s:%d: %s", c.Page, c.Line, strings.Join(c.Args, " "))
}

// programs are those whose name at the beginning of an indented line makes it a command.
var programs = map[string]bool{
	"sudo": true, "kmend": true, "kmend-agent": true, "systemd-run": true, "make": true, "kubectl": true, "helm": true, "go": true, "git": true, "curl": true,
	"docker": true, "buildah": true, "diff": true, "sha256sum": true, "install": true, "systemctl": true, "amtool": true,
	"openssl": true, "psql": true, "pg_dump": true, "pg_restore": true, "sqlite3": true, "setcap": true, "getcap": true, "cosign": true,
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
			if first, _, _ := strings.Cut(line, " "); !prompted && b.Language != "sh" && !programs[program(first)] || synopsis(line) || line == "" || line[0] == '#' {
				continue
			}
			calls, err := parse(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %q is no command of a shell: %w", p.Path, at, line, err)
			}
			for _, args := range calls {
				all = append(all, Command{p.Path, at, args.words, args.out})
			}
		}
	}
	return all, nil
}

// Calls are what a script runs: each program, without sudo and bin/, with what it is given.
func Calls(script string) ([][]string, error) {
	calls, err := parse(script)
	if err != nil {
		return nil, fmt.Errorf("%q is no script: %w", script, err)
	}
	out := make([][]string, len(calls))
	for i, c := range calls {
		out[i] = c.words
	}
	return out, nil
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
			all = append(all, Command{p.Path, line, calls[0].words, ""})
			return
		}
		args := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" []|()", r) })
		all = append(all, Command{p.Path, line, args, ""})
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

// program is the name of one as a line has it.
func program(word string) string { return strings.TrimPrefix(word, "bin/") }

// call is one command of a line.
type call struct {
	words []string
	out   string
}

// parse splits a line as a shell does; variables stay as they are written.
func parse(line string) (calls []call, err error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, err
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		stmt, ok := n.(*syntax.Stmt)
		if !ok {
			return true
		}
		expr, ok := stmt.Cmd.(*syntax.CallExpr)
		if !ok || len(expr.Args) == 0 {
			return true
		}
		var c call
		for _, w := range expr.Args {
			c.words = append(c.words, word(w))
		}
		if c.words[0] == "sudo" && len(c.words) > 1 {
			c.words = c.words[1:]
		}
		c.words[0] = program(c.words[0])
		for _, r := range stmt.Redirs {
			if r.Op == syntax.RdrOut {
				c.out = word(r.Word)
			}
		}
		calls = append(calls, c)
		return true
	})
	return calls, nil
}

func word(w *syntax.Word) string {
	var b strings.Builder
	printer := syntax.NewPrinter()
	for _, part := range w.Parts {
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
	return b.String()
}
