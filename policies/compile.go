package policies

import (
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// week is the longest time that kmend's own history is asked about.
const week = 7 * 24 * time.Hour

// guards compiles a policy's guards, which have the right shape, and collects
// what is wrong with them in errs.
func (l *loader) guards(p *policy) (errs document.Errors) {
	if p.Guards == nil {
		return nil
	}
	g := &guards{Guards: *p.Guards}
	c := compiler{doc: p.doc}
	when, _ := p.doc.Root.At("guards", "when")
	if g.When != "" {
		x, issues := l.env.Condition(g.When)
		for _, issue := range issues {
			c.errs = append(c.errs, when.ErrorfInside(issue.Offset, "guards.when: %s", issue.Message))
		}
		g.when = x
	}
	for i, a := range g.Autonomy {
		for field, pattern := range map[string]string{"runbook": a.Runbook, "namespace": a.Namespace, "cause": a.Cause} {
			c.pattern(pattern, "autonomy", strconv.Itoa(i), field)
		}
		c.cause(a.Cause, "autonomy", strconv.Itoa(i), "cause")
	}
	for i, e := range g.Evidence {
		c.cause(e.Cause, "evidence", strconv.Itoa(i), "cause")
		c.duration(e.MaxAge, 24*time.Hour, "evidence", strconv.Itoa(i), "maxAge")
	}
	for i, r := range g.BlastRadius {
		if r.Max == 0 && r.MaxPercent == 0 {
			c.at("neither max nor maxPercent is set, so it bounds nothing", "blastRadius", strconv.Itoa(i))
		}
		c.duration(r.In, week, "blastRadius", strconv.Itoa(i), "in")
	}
	for i, r := range g.Rates {
		c.duration(&r.In, week, "rates", strconv.Itoa(i), "in")
	}
	c.duration(g.Cooldown, week, "cooldown")
	if g.Breaker != nil {
		c.duration(&g.Breaker.In, week, "breaker", "in")
	}
	if g.Windows != nil {
		g.windows.zone = c.zone(g.Windows.TimeZone, "windows", "timeZone")
		for _, w := range g.Windows.Open {
			g.windows.open = append(g.windows.open, compileWindow(w))
		}
	}
	for i, f := range g.Freezes {
		g.freezes = append(g.freezes, c.freeze(f, strconv.Itoa(i)))
	}
	c.budgets(g.Budgets)
	p.guards = g
	return c.errs
}

// compiler collects what is wrong in guards.
type compiler struct {
	doc  *document.Document
	errs document.Errors
}

// at notes an error at a field of guards.
func (c *compiler) at(message string, field ...string) {
	node, _ := c.doc.Root.At(append([]string{"guards"}, field...)...)
	name := "guards"
	for _, f := range field {
		if _, err := strconv.Atoi(f); err == nil {
			name += "[" + f + "]"
		} else {
			name += "." + f
		}
	}
	c.errs = append(c.errs, node.Errorf("%s: %s", name, message))
}

func (c *compiler) duration(d *incident.Duration, most time.Duration, field ...string) {
	if d != nil && (d.D() < time.Second || d.D() > most) {
		c.at(fmt.Sprintf("it is %v; want 1s to %v", d, incident.Duration(most)), field...)
	}
}

func (c *compiler) pattern(pattern string, field ...string) {
	if _, err := path.Match(pattern, ""); err != nil {
		c.at(fmt.Sprintf("%q is no pattern; * stands for anything, [ and \\ for nothing else", pattern), field...)
	}
}

// cause checks that a pattern is for a cause at all: one that never matches
// would guard nothing.
func (c *compiler) cause(pattern string, field ...string) {
	for _, cause := range incident.Causes() {
		if like(pattern, string(cause)) {
			return
		}
	}
	c.at(fmt.Sprintf("%q is no cause; known: %v", pattern, incident.Causes()), field...)
}

func (c *compiler) zone(name string, field ...string) *time.Location {
	l, err := zone(name)
	if err != nil {
		c.at(err.Error(), field...)
		return time.UTC
	}
	return l
}

func (c *compiler) freeze(f Freeze, i string) freeze {
	out := freeze{Freeze: f}
	l := c.zone(f.TimeZone, "freezes", i, "timeZone")
	var err error
	if out.from, err = day(f.From, l, false); err != nil {
		c.at(err.Error(), "freezes", i, "from")
	}
	if out.to, err = day(f.To, l, true); err != nil {
		c.at(err.Error(), "freezes", i, "to")
	}
	if !out.from.IsZero() && !out.to.IsZero() && !out.to.After(out.from) {
		c.at(fmt.Sprintf("it ends (%s) before it begins (%s)", f.To, f.From), "freezes", i, "to")
	}
	return out
}

func (c *compiler) budgets(budgets []ErrorBudget) {
	names := map[string]bool{}
	for i, b := range budgets {
		at := []string{"errorBudgets", strconv.Itoa(i)}
		if names[b.Name] {
			c.at(fmt.Sprintf("%q is taken by one before it", b.Name), append(at, "name")...)
		}
		names[b.Name] = true
		c.pattern(b.Namespace, append(at, "namespace")...)
		all := incident.Target{Cluster: "x", Namespace: "x", Pod: "x", Container: "x", Node: "x"}
		for field, query := range map[string]string{"requests": b.Requests, "errors": b.Errors} {
			if _, err := fill(query, all); err != nil {
				c.at(err.Error(), append(at, field)...)
			}
		}
	}
}
