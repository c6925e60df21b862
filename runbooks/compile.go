package runbooks

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/internal/expr"
)

// value is a part of a step's `with` that is computed for each incident.
type value struct {
	path     []string // in `with`
	template *expr.Template
}

// DefaultVerify is how success is measured where a runbook does not say.
func DefaultVerify() incident.Verify {
	return incident.Verify{Settle: incident.Duration(time.Second), Window: incident.Duration(3 * time.Second), Improve: 0.5}
}

func sortByPriority(books []book) {
	slices.SortStableFunc(books, func(a, b book) int { return cmp.Compare(b.Priority, a.Priority) })
}

// compile checks one document: its shape first, then what only code can tell.
func (l *loader) compile(doc *document.Document) (book, document.Errors) {
	errs := l.schemas.document.Check(doc.Root, "")
	b := book{doc: doc, verify: DefaultVerify()}
	if len(errs) == 0 {
		if err := doc.Decode(&b.Runbook); err != nil {
			var at *document.Error
			errors.As(err, &at)
			return b, document.Errors{at}
		}
		errs = append(errs, l.when(&b)...)
		errs = append(errs, verify(&b)...)
		errs = append(errs, l.report(&b)...)
	}
	// The steps are checked one by one, so that one of a wrong shape does not hide the others' mistakes.
	steps, ok := doc.Root.At("steps")
	if ok {
		errs = append(errs, l.steps(&b, steps)...)
	}
	b.Undo = cmp.Or(b.Undo, incident.UndoAutomatic)
	return b, errs.Sort()
}

func (l *loader) when(b *book) (errs document.Errors) {
	if b.Match.When == "" {
		return nil
	}
	node, _ := b.doc.Root.At("match", "when")
	x, issues := l.env.Condition(b.Match.When)
	for _, issue := range issues {
		errs = append(errs, node.ErrorfInside(issue.Offset, "match.when: %s", issue.Message))
	}
	b.when = x
	return errs
}

func verify(b *book) (errs document.Errors) {
	bound := func(field string, from *incident.Duration, into *incident.Duration, least, most time.Duration) {
		if from == nil {
			return
		}
		*into = *from
		if from.D() < least || from.D() > most {
			node, _ := b.doc.Root.At("verify", field)
			errs = append(errs, node.Errorf("verify.%s is %q; want %v to %v", field, from.D(), least, most))
		}
	}
	bound("settle", b.Verify.Settle, &b.verify.Settle, 0, 10*time.Minute)
	bound("window", b.Verify.Window, &b.verify.Window, time.Second, time.Minute)
	if b.Verify.Improve != nil {
		b.verify.Improve = *b.Verify.Improve
	}
	if why := b.Verify.Unmeasured; why != "" {
		if b.Verify != (Verify{Unmeasured: why}) {
			node, _ := b.doc.Root.At("verify", "unmeasured")
			errs = append(errs, node.Errorf("verify.unmeasured stands beside settle, window or improve; want it alone, or them: where nothing is measured they say nothing"))
		}
		b.verify = incident.Verify{Unmeasured: why}
	}
	return errs
}

func (l *loader) steps(b *book, steps *document.Node) (errs document.Errors) {
	names := map[string]bool{}
	for i := 0; ; i++ {
		step, ok := steps.At(strconv.Itoa(i))
		if !ok {
			return errs
		}
		if name, ok := step.At("name"); ok {
			text, _ := name.Text()
			if names[text] {
				errs = append(errs, name.Errorf("steps[%d].name %q is taken by a step before it", i, text))
			}
			names[text] = true
		}
		values, found := l.with(step, fmt.Sprintf("steps[%d].with", i))
		b.values = append(b.values, values)
		errs = append(errs, found...)
	}
}

// with checks the parameters of a step against its action, and compiles the
// expressions among them.
func (l *loader) with(step *document.Node, name string) ([]value, document.Errors) {
	action, _ := step.At("action")
	text, _ := action.Text()
	schema, known := l.schemas.with[text]
	if !known {
		return nil, nil // said already
	}
	node, ok := step.At("with")
	if !ok {
		if err := schema.written.CheckValue(map[string]any{}, name); err != nil {
			return nil, document.Errors{action.Errorf("%v", err)}
		}
		return nil, nil
	}
	values, errs := l.values(node, schema.written, name, nil)
	return values, append(schema.written.Check(node, name), errs...)
}

// values compiles the expressions in a mapping and in the mappings in it.
func (l *loader) values(node *document.Node, schema *document.Schema, name string, path []string) (values []value, errs document.Errors) {
	node.Fields(func(field string, n *document.Node) {
		path, name := append(slices.Clone(path), field), name+"."+field
		text, ok := n.Text()
		switch {
		case ok && expr.HasExpr(text):
		case n.IsMapping():
			v, e := l.values(n, schema, name, path)
			values, errs = append(values, v...), append(errs, e...)
			return
		default:
			n.Texts(func(text string, at *document.Node) {
				if expr.HasExpr(text) {
					errs = append(errs, at.Errorf("%s: an expression may not stand inside a list", name))
				}
			})
			return
		}
		t, issues := l.env.Template(text)
		for _, issue := range issues {
			errs = append(errs, n.ErrorfInside(issue.Offset, "%s: %s", name, issue.Message))
		}
		if issues == nil {
			if want := schema.TypeAt(path...); !fits(t.Type(), want) {
				errs = append(errs, n.Errorf("%s: the expression is of type %s, want %s", name, t.Type(), want))
			}
			values = append(values, value{path, t})
		}
	})
	return values, errs
}

// fits reports whether a value of a CEL type may be one of a JSON type. What
// CEL cannot tell before it runs is checked when the plan is rendered.
func fits(cel, json string) bool {
	switch json {
	case "number":
		return cel == "double" || cel == "int" || cel == "uint" || cel == "dyn"
	case "integer":
		return cel == "int" || cel == "uint" || cel == "dyn"
	case "string":
		return cel == "string" || cel == "dyn"
	case "boolean":
		return cel == "bool" || cel == "dyn"
	}
	return true
}
