package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/kmend/kmend/internal/document"
)

const (
	lookEvery  = 2 * time.Second  // at the files
	retryAfter = 30 * time.Second // what is broken may be mended by what is not looked at, such as a secret's file
)

// reloads reads again what changed on disk. It compares contents, not times or names:
// that is the same for a file that is edited and for a ConfigMap's volume, whose
// ..data link is swapped.
type reloads struct {
	log     *slog.Logger
	metrics *Metrics
	sets    []*reloaded
	mu      sync.Mutex // of the sets' errors
}

// reloaded is what is read again as a whole or not at all.
type reloaded struct {
	what  string          // "runbooks"
	paths func() []string // files, or directories of YAML files, that it is made of
	load  func() error    // reads it and puts it in the place of the old one; an error changes nothing

	used, seen string    // digests of what was loaded, or refused, and of what the last look saw
	tried      time.Time // when it was loaded, or refused
	err        error     // why what the files say is not in use
}

// add reads a set for the first time and looks after it from then on.
func (r *reloads) add(what string, paths func() []string, load func() error) error {
	s := &reloaded{what: what, paths: paths, load: load, tried: time.Now()}
	s.used = digest(paths()) // before it is read: a change in between is seen
	if err := load(); err != nil {
		return fmt.Errorf("loading %s: %w", what, err)
	}
	s.seen = s.used
	r.metrics.loaded(what, nil)
	r.sets = append(r.sets, s)
	return nil
}

// run looks until ctx ends.
func (r *reloads) run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.look()
		case <-ctx.Done():
			return
		}
	}
}

// look takes what has changed and was the same at the look before: what is still
// being written is left alone.
func (r *reloads) look() {
	for _, s := range r.sets {
		now := digest(s.paths())
		still := now == s.seen
		s.seen = now
		if still && (now != s.used || s.err != nil && time.Since(s.tried) >= retryAfter) {
			r.again(s, now)
		}
	}
}

// again loads a set. Of one that is broken the old one stays.
func (r *reloads) again(s *reloaded, now string) {
	err := s.load()
	s.used, s.tried = now, time.Now()
	switch {
	case err == nil:
		r.log.Info("read again", "what", s.what)
	case s.err == nil || s.err.Error() != err.Error():
		r.log.Error("what changed is broken, so what was loaded before stays in use", "what", s.what, "error", err)
	}
	r.metrics.loaded(s.what, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	s.err = err
}

// broken says what is not as its files say.
func (r *reloads) broken(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for _, s := range r.sets {
		if s.err != nil {
			all = errors.Join(all, fmt.Errorf("%s: the old ones stay in use, for what changed is broken: %w", s.what, s.err))
		}
	}
	return all
}

// digest is of the contents of files and directories, and of what cannot be read.
func digest(paths []string) string {
	h := sha256.New()
	for _, path := range paths {
		files, err := document.Files([]string{path})
		fmt.Fprintf(h, "%q %v\n", path, err)
		for _, file := range files {
			sum, err := digestOf(file)
			fmt.Fprintf(h, "%q %x %v\n", file, sum, err)
		}
	}
	return string(h.Sum(nil))
}

func digestOf(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would hold everything up
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, document.MaxFileBytes+1)); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
