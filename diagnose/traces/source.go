package traces

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// query asks for traces that have a span of the service.
type query struct {
	service    string
	start, end time.Time
	limit      int
	longer     time.Duration // 0: of any duration
	failing    bool          // only those with a span of the service that failed
}

// finder is one system's way to be asked.
type finder interface {
	find(ctx context.Context, q query) ([][]Span, error)
}

// Source is a Jaeger or a Tempo.
type Source struct {
	opts   Options
	finder finder
}

// New makes a Source. It asks nobody yet.
func New(o Options) (*Source, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("making a source of traces: %w", err)
	}
	s := &Source{opts: o}
	c := newClient(o)
	if s.finder = (jaeger{c}); o.System == Tempo {
		s.finder = tempo{c}
	}
	return s, nil
}

// Name says which system it is.
func (s *Source) Name() string { return s.opts.System }

// maxService bounds the name of a service in a query and in a span.
const maxService = 128

// maxServices bounds the names that a service is looked for by.
const maxServices = 8

// Way finds the way from the first of the names that has traces in the window.
// The names are untrusted. An error is that the system could not be asked; that it
// has no traces is a Way without stops.
func (s *Source) Way(ctx context.Context, services []string, start, end time.Time) (Way, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, fmt.Errorf("no answer within %s", s.opts.Timeout))
	defer cancel()
	names := slices.DeleteFunc(slices.Clone(services), func(name string) bool { return !nameable(name) })
	if len(names) == 0 {
		return Way{Message: "the alert names no service"}, nil
	}
	w := Way{}
	for _, name := range names[:min(len(names), maxServices)] {
		found, err := s.way(ctx, name, start, end)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return Way{}, fmt.Errorf("asking %s for traces of %s: %w", s.opts.System, shown(name), err)
		}
		if len(found.Stops) > 0 {
			return found, nil
		}
		if w.Message == "" {
			w = found
		}
	}
	return w, nil
}

func (s *Source) way(ctx context.Context, service string, start, end time.Time) (Way, error) {
	q := query{service: service, start: start.Add(-s.opts.Baseline), end: start, limit: s.opts.Traces}
	before, err := s.finder.find(ctx, q)
	if err != nil {
		return Way{}, err
	}
	q.start, q.end = start, end
	q.longer = longer(service, before)
	now, err := s.finder.find(ctx, q)
	if err != nil {
		return Way{}, err
	}
	if len(before)+len(now) > 0 { // else it is no name of a service
		q.longer, q.failing = 0, true
		failing, err := s.finder.find(ctx, q)
		if err != nil {
			return Way{}, err
		}
		now = union(now, failing)
	}
	if len(now) == 0 {
		return Way{Message: fmt.Sprintf("%s has no slow or failing traces of %s between %s and %s (%d from before)",
			s.opts.System, shown(service), start.UTC().Format(time.TimeOnly), end.UTC().Format(time.TimeOnly), len(before))}, nil
	}
	w := Analyse([]string{service}, now, before)
	for i := range w.Stops {
		for j := range w.Stops[i].Evidence {
			w.Stops[i].Evidence[j].Probe = s.opts.System
		}
	}
	return w, nil
}

// longer is how long a slow visit to the service takes: more than half again of
// what one usually takes; 0 without a baseline.
func longer(service string, before [][]Span) time.Duration {
	var took []float64
	for _, t := range before {
		for _, c := range begin(t, map[string]bool{service: true}) {
			took = append(took, millis(c.entry.Duration))
		}
	}
	return time.Duration(1.5 * median(took) * float64(time.Millisecond))
}

// union has each trace once.
func union(a, b [][]Span) [][]Span {
	seen := map[string]bool{}
	var out [][]Span
	for _, t := range slices.Concat(a, b) {
		if len(t) > 0 && !seen[t[0].Trace] {
			seen[t[0].Trace] = true
			out = append(out, t)
		}
	}
	return out
}

// nameable reports whether a label's value may be a service's name in a query.
func nameable(name string) bool {
	return name != "" && len(name) <= maxService && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// errTooLarge is an answer that is not read.
var errTooLarge = errors.New("the answer is larger than 16 MiB; traces of that size are not read")
