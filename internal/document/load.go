package document

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Each reads every document behind paths (see Files) and hands it to check. The
// error is Errors with everything that is wrong in all of the files, or says
// which path is unreadable.
func Each(paths []string, check func(*Document) Errors) error {
	files, err := Files(paths)
	if err != nil {
		return err
	}
	var all Errors
	for _, file := range files {
		docs, err := Read(file)
		if all, err = collect(all, docs, err, check); err != nil {
			return err
		}
	}
	return all.orNil()
}

// EachShipped does the same for the files that are embedded in the program; dir
// is the name that errors carry for where they are.
func EachShipped(files fs.FS, dir string, check func(*Document) Errors) error {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return fmt.Errorf("reading the shipped %s: %w", dir, err)
	}
	var all Errors
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("reading the shipped %s: %w", dir, err)
		}
		docs, err := Parse(dir+"/"+name, data)
		if all, err = collect(all, docs, err, check); err != nil {
			return err
		}
	}
	return all.orNil()
}

// collect adds the errors that have a place in a file to all, and returns any other.
func collect(all Errors, docs []*Document, err error, check func(*Document) Errors) (Errors, error) {
	var positioned Errors
	if errors.As(err, &positioned) {
		return append(all, positioned...), nil
	}
	if err != nil {
		return all, err
	}
	for _, doc := range docs {
		all = append(all, check(doc)...)
	}
	return all, nil
}

func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort puts the errors of one document into the order of its lines.
func (e Errors) Sort() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}
