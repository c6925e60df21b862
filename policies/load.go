package policies

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/internal/expr"
)

// shipped are the policies that kmend brings along.
//
//go:embed *.yaml
var shipped embed.FS

// DefaultMaxAge is how old a measurement may be when it is acted on.
const DefaultMaxAge = 30 * time.Minute

// Set is the policies that were loaded, ready to decide. It is safe for
// concurrent use. A nil or an empty Set denies.
type Set struct {
	policies []policy
	live     bool             // false: everything is a dry run
	clock    func() time.Time // nil: time.Now
}

// Len is the number of policies.
func (s *Set) Len() int { return len(s.policies) }

// policy is a checked and compiled policy.
type policy struct {
	Policy
	dryRun bool
	maxAge time.Duration
	when   []*expr.Expr // of each rule; nil when it always matches
	guards *guards      // nil when there are none
	doc    *document.Document
}

// Load reads the policies in paths: files, which may hold several documents,
// and directories, whose *.yaml and *.yml files are read by name, without those
// of directories in them. The error is document.Errors with everything that is
// wrong in all of the files, or says which path is unreadable. Until
// WithDryRun(false) everything that the Set allows is a dry run.
func Load(paths []string) (*Set, error) {
	l, err := newLoader()
	if err != nil {
		return nil, err
	}
	return l.set(document.Each(paths, l.add))
}

// Builtin reads the policies that ship with kmend.
func Builtin() (*Set, error) {
	l, err := newLoader()
	if err != nil {
		return nil, err
	}
	return l.set(document.EachShipped(shipped, "policies", l.add))
}

// WithDryRun is the set with the global dry run on or off. Off leaves the dry
// run of the policies as it is.
func (s *Set) WithDryRun(on bool) *Set {
	c := *s
	c.live = !on
	return &c
}

// WithClock is the set with another clock than time.Now.
func (s *Set) WithClock(now func() time.Time) *Set {
	c := *s
	c.clock = now
	return &c
}

func (s *Set) now() time.Time {
	if s.clock == nil {
		return time.Now()
	}
	return s.clock()
}

// Schema is the JSON Schema of a policy for editors.
func Schema() ([]byte, error) {
	s, err := document.SchemaOf(Policy{})
	if err != nil {
		return nil, err
	}
	raw := s.Raw()
	raw["title"] = "kmend policy"
	text, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// loader collects policies.
type loader struct {
	schema   *document.Schema
	env      *expr.Env
	policies []policy
}

func newLoader() (*loader, error) {
	s, err := document.SchemaOf(Policy{})
	if err != nil {
		return nil, err
	}
	env, err := expr.NewEnv(expr.Plan, expr.Now)
	return &loader{schema: s, env: env}, err
}

func (l *loader) set(err error) (*Set, error) {
	if err != nil {
		return nil, err
	}
	return &Set{policies: l.policies}, nil
}

// add compiles one document and keeps it when nothing is wrong with it.
func (l *loader) add(doc *document.Document) document.Errors {
	if errs := l.schema.Check(doc.Root, ""); len(errs) > 0 {
		return append(errs, l.conditions(doc, nil)...).Sort()
	}
	p := policy{doc: doc}
	if err := doc.Decode(&p.Policy); err != nil {
		var at *document.Error
		errors.As(err, &at)
		return document.Errors{at}
	}
	p.dryRun = p.DryRun == nil || *p.DryRun
	errs := l.unique(p)
	errs = append(errs, maxAge(&p)...)
	errs = append(errs, l.conditions(doc, &p.when)...)
	errs = append(errs, l.guards(&p)...)
	if len(p.Rules) == 0 && p.Guards == nil {
		errs = append(errs, doc.Root.Errorf("it has neither rules nor guards, so it decides nothing"))
	}
	if len(errs) == 0 {
		l.policies = append(l.policies, p)
	}
	return errs.Sort()
}

// conditions compiles the condition of every rule.
func (l *loader) conditions(doc *document.Document, into *[]*expr.Expr) (errs document.Errors) {
	names := map[string]bool{}
	for i := 0; ; i++ {
		rule, ok := doc.Root.At("rules", strconv.Itoa(i))
		if !ok {
			return errs
		}
		if name, ok := rule.At("name"); ok {
			text, _ := name.Text()
			if names[text] {
				errs = append(errs, name.Errorf("rules[%d].name %q is taken by a rule before it", i, text))
			}
			names[text] = true
		}
		var x *expr.Expr
		when, _ := rule.At("when")
		if text, _ := when.Text(); text != "" {
			var issues []expr.Issue
			x, issues = l.env.Condition(text)
			for _, issue := range issues {
				errs = append(errs, when.ErrorfInside(issue.Offset, "rules[%d].when: %s", i, issue.Message))
			}
		}
		if into != nil {
			*into = append(*into, x)
		}
	}
}

func maxAge(p *policy) document.Errors {
	p.maxAge = DefaultMaxAge
	if p.MaxAge == nil {
		return nil
	}
	p.maxAge = p.MaxAge.D()
	if p.maxAge < time.Second || p.maxAge > 24*time.Hour {
		at, _ := p.doc.Root.At("maxEvidenceAge")
		return document.Errors{at.Errorf("maxEvidenceAge is %q; want 1s to 24h", p.maxAge)}
	}
	return nil
}

func (l *loader) unique(p policy) document.Errors {
	name := p.Metadata.Name
	at, _ := p.doc.Root.At("metadata", "name")
	if name == builtin {
		return document.Errors{at.Errorf("metadata.name %q is what kmend calls its own checks; choose another", name)}
	}
	for _, had := range l.policies {
		if had.Metadata.Name == name {
			first, _ := had.doc.Root.At("metadata", "name")
			return document.Errors{at.Errorf("metadata.name %q is taken by the policy at %s:%d", name, had.doc.File, first.Line)}
		}
	}
	return nil
}

// MaxEvidenceAge is the shortest age of evidence that any policy asks for: what
// is older must be measured again before it is acted on.
func (s *Set) MaxEvidenceAge() time.Duration {
	age := 24 * time.Hour
	for _, p := range s.policies {
		age = min(age, cmp.Or(p.maxAge, DefaultMaxAge))
	}
	return age
}

// History is how far back the guards ask what kmend did.
func (s *Set) History() (d time.Duration) {
	if s == nil {
		return 0
	}
	for _, p := range s.policies {
		d = max(d, p.guards.longest())
	}
	return d
}

// Extents are the parts of the cluster that a guard counts: of owner, namespace,
// node, zone and cluster those that have to be asked about.
func (s *Set) Extents() (kinds []string) {
	if s == nil {
		return nil
	}
	for _, p := range s.policies {
		if p.guards == nil {
			continue
		}
		for _, r := range p.guards.BlastRadius {
			if !slices.Contains(kinds, r.Per) {
				kinds = append(kinds, r.Per)
			}
		}
	}
	return kinds
}

// Asking names the rules that may decide require_approval, as POLICY/RULE.
func (s *Set) Asking() []string {
	var names []string
	for _, p := range s.policies {
		for _, rule := range p.Rules {
			if rule.Decide == incident.RequireApproval {
				names = append(names, p.Metadata.Name+"/"+rule.Name)
			}
		}
		for _, guard := range p.guards.asking() {
			names = append(names, p.Metadata.Name+"/"+guard)
		}
	}
	return names
}
