package runbooks

import "slices"

// Names are the runbooks' names, in the order in which they are asked.
func (s *Set) Names() []string {
	names := make([]string, len(s.books))
	for i, b := range s.books {
		names[i] = b.Metadata.Name
	}
	return names
}

// Only is the set with one of its runbooks alone; ok is false when it has none of
// that name.
func (s *Set) Only(name string) (only *Set, ok bool) {
	i := slices.IndexFunc(s.books, func(b book) bool { return b.Metadata.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Set{books: s.books[i : i+1], with: s.with}, true
}

// Steps are those of all runbooks, as they are written.
func (s *Set) Steps() []Step {
	var steps []Step
	for _, b := range s.books {
		steps = append(steps, b.Steps...)
	}
	return steps
}
