// Package expr holds the CEL expressions that runbooks and policies write about
// an incident. They are compiled and type-checked when a file is loaded, over
// the nouns of package incident with the field names of their JSON: a field that
// does not exist is an error with its place. Evaluation has no side effects, no
// clock and no I/O, and stops at a cost limit, so that the same incident gives
// the same answer on a busy machine and on an idle one.
package expr

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// CostLimit bounds one evaluation, in CEL's units of cost: about one per
// operation or list element, and one per ten characters of text looked at.
const CostLimit = 200_000

// maxLength bounds the text of one expression.
const maxLength = 8 << 10

// Env is a set of variables that expressions may use. It is safe for concurrent use.
type Env struct {
	env   *cel.Env
	names []string // variables and fields, for suggestions
	vars  []string
}

// Variables of an Env, beside those of Facts.
var (
	// Plan is the incident.Plan that is decided about.
	Plan = Variable{"plan", cel.ObjectType("incident.Plan")}
	// Now is the time of the decision, a timestamp.
	Now = Variable{"now", cel.TimestampType}
)

// Variable is a name and its type.
type Variable struct {
	Name string
	Type *cel.Type
}

// NewEnv makes an Env with the variables of Facts and extra ones.
func NewEnv(extra ...Variable) (*Env, error) {
	vars := append([]Variable{
		{"incident", cel.ObjectType("incident.Incident")},
		{"target", cel.ObjectType("incident.Target")},
		{"alert", cel.ObjectType("incident.Alert")},
		{"alerts", cel.ListType(cel.ObjectType("incident.Alert"))},
		{"finding", cel.ObjectType("incident.Finding")},
		{"diagnosis", cel.ObjectType("incident.Diagnosis")},
	}, extra...)
	opts := []cel.EnvOption{
		ext.NativeTypes(ext.ParseStructTag("json"), reflect.TypeFor[incident.Incident]()),
		ext.Strings(), cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxLength),
		jsonFunction(), urlpartFunction(),
	}
	e := &Env{}
	for _, v := range vars {
		opts = append(opts, cel.Variable(v.Name, v.Type))
		e.vars = append(e.vars, v.Name)
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("making the CEL environment: %w", err)
	}
	e.env = env
	fieldNames(reflect.TypeFor[incident.Incident](), &e.names)
	return e, nil
}

// fieldNames collects the JSON names of every field below t.
func fieldNames(t reflect.Type, into *[]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fieldNames(t.Elem(), into)
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !slices.Contains(*into, name) {
				*into = append(*into, name)
				fieldNames(f.Type, into)
			}
		}
	}
}

// Facts are the values of the variables that every expression may use: finding
// is the one that decides, target the one that would be acted on. alert is the
// first of alerts.
func Facts(inc incident.Incident, finding incident.Finding, target incident.Target) map[string]any {
	facts := map[string]any{
		"incident": inc, "target": target, "finding": finding, "alerts": inc.Alerts,
		"alert": incident.Alert{}, "diagnosis": incident.Diagnosis{},
	}
	if len(inc.Alerts) > 0 {
		facts["alert"] = inc.Alerts[0]
	}
	if inc.Diagnosis != nil {
		facts["diagnosis"] = *inc.Diagnosis
	}
	return facts
}

// Issue is what is wrong with an expression: Offset is the character it is about.
type Issue struct {
	Offset  int
	Message string
}

// Expr is a compiled expression. It is safe for concurrent use.
type Expr struct {
	text    string
	program cel.Program
	typ     *cel.Type
}

// Type is the expression's type as CEL names it: "bool", "double", "string", "dyn", ...
func (x *Expr) Type() string { return x.typ.String() }

// Compile parses and type-checks an expression.
func (e *Env) Compile(text string) (*Expr, []Issue) {
	ast, issues := e.env.Compile(text)
	if issues.Err() != nil {
		var out []Issue
		for _, problem := range issues.Errors() {
			offset := offset(text, problem.Location.Line(), problem.Location.Column())
			out = append(out, Issue{offset, e.explain(problem.Message)})
		}
		return nil, out
	}
	program, err := e.env.Program(ast, cel.CostLimit(CostLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []Issue{{0, err.Error()}}
	}
	return &Expr{text, program, ast.OutputType()}, nil
}

// Condition compiles an expression that is true or false.
func (e *Env) Condition(text string) (*Expr, []Issue) {
	x, issues := e.Compile(text)
	if issues == nil && x.Type() != "bool" {
		return nil, []Issue{{0, fmt.Sprintf("the condition is of type %s, want bool", x.Type())}}
	}
	return x, issues
}

// offset turns CEL's line (from 1) and column (from 0) into a number of characters.
func offset(text string, line, column int) int {
	lines := strings.SplitAfter(text, "\n")
	n := 0
	for i := 0; i < line-1 && i < len(lines); i++ {
		n += len([]rune(lines[i]))
	}
	return max(0, min(n+column, len([]rune(text))))
}

var (
	undefined  = regexp.MustCompile(`^undefined field '(\w+)'$`)
	undeclared = regexp.MustCompile(`^undeclared reference to '(\w+)'`)
	expecting  = regexp.MustCompile(`(?s) expecting \{.*\}$`)
)

// explain adds what is allowed to the compiler's message.
func (e *Env) explain(message string) string {
	if m := undefined.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("no field %q here%s", m[1], document.Nearest(m[1], e.names))
	}
	if m := undeclared.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("unknown name %q; known: %s%s", m[1], strings.Join(e.vars, ", "), document.Nearest(m[1], e.vars))
	}
	if strings.Contains(message, "mismatched input '<EOF>'") {
		return "the expression ends too early"
	}
	message = expecting.ReplaceAllString(strings.TrimPrefix(message, "Syntax error: "), "")
	return strings.ReplaceAll(message, "'<EOF>'", "the end of the expression")
}

// Eval computes the expression. The value is a bool, int64, uint64, float64,
// string or what else CEL's types are in Go.
func (x *Expr) Eval(facts map[string]any) (any, error) {
	v, _, err := x.program.Eval(facts)
	if err != nil {
		return nil, fmt.Errorf("evaluating %s: %w", x.text, err)
	}
	return v.Value(), nil
}

// True computes a condition.
func (x *Expr) True(facts map[string]any) (bool, error) {
	return x.TrueWithin(facts, new(Budget{CostLimit}))
}

// Budget is the cost that several expressions may have together.
type Budget struct{ Left uint64 }

// TrueWithin computes a condition and takes its cost off the budget. Where nothing
// is left nothing is computed; the last one may go over it by CostLimit.
func (x *Expr) TrueWithin(facts map[string]any, b *Budget) (bool, error) {
	if b.Left == 0 {
		return false, fmt.Errorf("evaluating %s: the conditions before it have used up what all together may cost", x.text)
	}
	v, details, err := x.program.Eval(facts)
	cost := uint64(CostLimit) // of what failed nobody knows
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	b.Left -= min(b.Left, cost)
	if err != nil {
		return false, fmt.Errorf("evaluating %s: %w", x.text, err)
	}
	is, ok := v.Value().(bool)
	if !ok {
		return false, fmt.Errorf("evaluating %s: it is %T, want bool", x.text, v.Value())
	}
	return is, nil
}
