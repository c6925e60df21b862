package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bed is what one case makes its fault with. Everything it makes is undone by
// close, last first. Its methods panic with a stopped when something cannot be
// made; the case then ends with that error.
type bed struct {
	ctx   context.Context
	h     hierarchy
	root  string // of this lab in every cgroup tree
	dir   string // a folder of this case
	tools tools
	undo  []func() error
	n     int // of names given out
}

type stopped struct{ err error }

func (b *bed) check(err error) {
	if err != nil {
		panic(stopped{err})
	}
}

func (b *bed) later(f func() error) { b.undo = append(b.undo, f) }

func (b *bed) close() error {
	var errs []error
	for _, f := range slices.Backward(b.undo) {
		errs = append(errs, func() (err error) {
			defer func() {
				if r, ok := recover().(stopped); ok {
					err = r.err
				}
			}()
			return f()
		}())
	}
	b.undo = nil
	return errors.Join(errs...)
}

// name is a new name within the bed.
func (b *bed) name() string {
	b.n++
	return fmt.Sprintf("f%d", b.n)
}

// file is a new path in the case's folder.
func (b *bed) file() string { return filepath.Join(b.dir, b.name()) }

// data makes a file of mb megabytes that is on the disk and not in the page
// cache of any group; dir "" is the case's folder.
func (b *bed) data(dir string, mb int) string {
	if dir == "" {
		dir = b.dir
	}
	path := filepath.Join(dir, b.name())
	f, err := os.Create(path)
	b.check(err)
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	for range mb {
		_, err := f.Write(chunk)
		b.check(err)
	}
	b.check(f.Sync())
	b.check(dropCache(f))
	return path
}

// wait waits for d, or ends the case when the lab is told to end.
func (b *bed) wait(d time.Duration) {
	select {
	case <-b.ctx.Done():
		b.check(context.Cause(b.ctx))
	case <-time.After(d):
	}
}

// until asks until it is true, for at most d.
func (b *bed) until(what string, d time.Duration, f func() bool) {
	for end := time.Now().Add(d); !f(); b.wait(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.check(fmt.Errorf("waiting for %s: not there after %v", what, d))
		}
	}
}
