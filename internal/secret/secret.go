// Package secret reads secrets from files and compares what a caller presents
// with them. The webhook and the API use it at their doors; a secret is never
// held anywhere else, logged or put into an error.
package secret

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// maxBytes bounds a secret: a file that is larger is not a secret but a mistake.
const maxBytes = 64 << 10

// File is one secret in a file. The file is read again when it has changed, so
// a rotated secret counts at the next request. White space around it is not
// part of it. Safe for concurrent use.
type File struct {
	path string

	mu    sync.Mutex
	seen  stamp
	value []byte
}

// stamp is what tells one state of the file from another.
type stamp struct {
	info os.FileInfo
	size int64
	mod  time.Time
}

func (s stamp) same(info os.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.size == info.Size() && s.mod.Equal(info.ModTime())
}

// Open reads the secret at path for the first time.
func Open(path string) (*File, error) {
	f := &File{path: path}
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Path is where the secret is.
func (f *File) Path() string { return f.path }

// Exposed reports whether every user of the machine may read the file.
func (f *File) Exposed() bool {
	info, err := os.Stat(f.path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// Value is the secret as it is in the file now. It is an error when the file is
// gone, empty or unreadable, also after it was good: a secret that was removed
// no longer opens anything.
func (f *File) Value() (string, error) {
	v, err := f.read()
	return string(v), err
}

// Matches compares given with the secret, in a time that depends on neither.
func (f *File) Matches(given string) (bool, error) {
	v, err := f.read()
	if err != nil {
		return false, err
	}
	return Equal(given, string(v)), nil
}

// Equal compares two secrets in a time that depends on neither, nor on their lengths.
func Equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// Bearer is the token of the request's Authorization header, "" when it has none.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func (f *File) read() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	if f.seen.same(info) {
		return f.value, nil
	}
	b, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	if len(b) > maxBytes {
		return nil, fmt.Errorf("reading a secret: %s has more than %d bytes", f.path, maxBytes)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, fmt.Errorf("reading a secret: %s %w", f.path, errEmpty)
	}
	f.seen, f.value = stamp{info, info.Size(), info.ModTime()}, b
	return b, nil
}

var errEmpty = errors.New("is empty; write the secret into it")
