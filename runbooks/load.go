package runbooks

import (
	"embed"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/internal/expr"
)

// shipped are the runbooks that kmend brings along.
//
//go:embed *.yaml
var shipped embed.FS

// Set is the runbooks that were loaded, ready to plan. It is safe for concurrent use.
type Set struct {
	books []book // highest priority first; of equal ones, the first loaded
	with  map[string]withSchema
}

// Len is the number of runbooks.
func (s *Set) Len() int { return len(s.books) }

// book is a checked and compiled runbook.
type book struct {
	Runbook
	verify incident.Verify
	when   *expr.Expr     // nil when the cause is enough
	values [][]value      // of each step
	report *expr.Template // nil when it has steps
	doc    *document.Document
}

// Load reads the runbooks in paths: files, which may hold several documents,
// and directories, whose *.yaml and *.yml files are read by name, without those
// of directories in them. The error is document.Errors with everything that is
// wrong in all of the files, or says which path is unreadable.
func Load(paths []string, actions []ActionSpec) (*Set, error) {
	l, err := newLoader(actions)
	if err != nil {
		return nil, err
	}
	return l.set(document.Each(paths, l.add))
}

// Builtin reads the runbooks that ship with kmend.
func Builtin(actions []ActionSpec) (*Set, error) {
	l, err := newLoader(actions)
	if err != nil {
		return nil, err
	}
	return l.set(document.EachShipped(shipped, "runbooks", l.add))
}

// loader collects runbooks.
type loader struct {
	schemas *schemas
	env     *expr.Env
	books   []book
}

func newLoader(actions []ActionSpec) (*loader, error) {
	s, err := newSchemas(actions)
	if err != nil {
		return nil, err
	}
	env, err := expr.NewEnv()
	return &loader{schemas: s, env: env}, err
}

// add compiles one document and keeps it when nothing is wrong with it.
func (l *loader) add(doc *document.Document) document.Errors {
	b, errs := l.compile(doc)
	if len(errs) == 0 {
		errs = l.unique(b)
	}
	if len(errs) == 0 {
		l.books = append(l.books, b)
	}
	return errs
}

func (l *loader) unique(b book) document.Errors {
	for _, had := range l.books {
		if had.Metadata.Name == b.Metadata.Name {
			at, _ := b.doc.Root.At("metadata", "name")
			first, _ := had.doc.Root.At("metadata", "name")
			return document.Errors{at.Errorf("metadata.name %q is taken by the runbook at %s:%d", b.Metadata.Name, had.doc.File, first.Line)}
		}
	}
	return nil
}

func (l *loader) set(err error) (*Set, error) {
	if err != nil {
		return nil, err
	}
	sortByPriority(l.books)
	return &Set{books: l.books, with: l.schemas.with}, nil
}
