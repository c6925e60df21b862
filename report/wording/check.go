package wording

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// maxLoops is how deep loops may be nested: two over lists of 50 are 2500 turns.
const maxLoops = 2

// checker walks a template and keeps the first thing that is not allowed.
type checker struct {
	tree *parse.Tree
	err  error
}

// check refuses what could take long, or undo an escape: other templates, functions that are
// not allowed, loops over anything but a list of View and loops in loops in loops.
func check(t *template.Template) error {
	if len(t.Templates()) > 1 {
		return fmt.Errorf("%s: define and block are not allowed; a template is one", t.Name())
	}
	if t.Tree == nil {
		return nil
	}
	c := checker{tree: t.Tree}
	c.list(t.Root, 0)
	return c.err
}

func (c *checker) refuse(n parse.Node, format string, args ...any) {
	if c.err == nil {
		at, _ := c.tree.ErrorContext(n)
		c.err = fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
	}
}

func (c *checker) list(l *parse.ListNode, loops int) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			c.pipe(n.Pipe)
		case *parse.IfNode:
			c.branch(n.BranchNode, loops)
		case *parse.WithNode:
			c.branch(n.BranchNode, loops)
		case *parse.RangeNode:
			c.loop(n, loops+1)
		case *parse.TemplateNode:
			c.refuse(n, "template is not allowed; a template is one")
		}
	}
}

func (c *checker) branch(b parse.BranchNode, loops int) {
	c.pipe(b.Pipe)
	c.list(b.List, loops)
	c.list(b.ElseList, loops)
}

func (c *checker) loop(n *parse.RangeNode, loops int) {
	over := ""
	if len(n.Pipe.Cmds) == 1 && len(n.Pipe.Cmds[0].Args) == 1 {
		over = n.Pipe.Cmds[0].Args[0].String()
	}
	name := strings.TrimPrefix(strings.TrimPrefix(over, "$"), ".")
	switch lists := []string{"Alerts", "Answers", "Evidence", "Executions", "Labels", "Path", "Steps"}; {
	case loops > maxLoops:
		c.refuse(n, "a loop in a loop in a loop; at most %d", maxLoops)
	case !slices.Contains(lists, name):
		c.refuse(n, "range goes over %s; want one of .%s", n.Pipe, strings.Join(lists, ", ."))
	}
	c.list(n.List, loops)
	c.list(n.ElseList, loops)
}

func (c *checker) pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for _, cmd := range p.Cmds {
		for _, a := range cmd.Args {
			c.arg(a)
		}
	}
}

func (c *checker) arg(a parse.Node) {
	switch a := a.(type) {
	case *parse.IdentifierNode:
		if !slices.Contains(allowed(), a.Ident) {
			c.refuse(a, "function %q is not allowed; allowed: %s", a.Ident, strings.Join(allowed(), ", "))
		}
	case *parse.PipeNode:
		c.pipe(a)
	case *parse.ChainNode:
		c.arg(a.Node)
	case *parse.FieldNode:
		if len(a.Ident) > 0 && !slices.Contains(fields(), a.Ident[0]) {
			c.refuse(a, "there is no field .%s; known: .%s", a.Ident[0], strings.Join(fields(), ", ."))
		}
	}
}
