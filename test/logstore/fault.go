// Package logstore has what the stand-ins for stores of logs (test/loki and
// test/elasticsearch) have in common: the ways in which a store does not answer,
// and answers packed with gzip.
package logstore

import (
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is how a store misbehaves.
type Fault string

// The faults.
const (
	None     Fault = ""
	Hang     Fault = "hang" // it accepts the request and says nothing
	Limited  Fault = "429"
	Broken   Fault = "500"
	Huge     Fault = "huge" // a valid answer without an end
	Garbage  Fault = "garbage"
	Cut      Fault = "cut" // the connection ends in the middle of the answer
	Redirect Fault = "redirect"
)

// Faults serves a store, lets a test choose a fault, and keeps what was wrong with the requests.
type Faults struct {
	mu       sync.Mutex
	fault    Fault
	problems []string
	requests int
	done     chan struct{}
}

// Start serves a store until the end of the test; what hangs ends before that.
func (f *Faults) Start(t *testing.T, store http.Handler) (url string) {
	f.done = make(chan struct{})
	s := httptest.NewServer(f.serve(store))
	t.Cleanup(func() {
		close(f.done)
		s.Close()
	})
	return s.URL
}

// Set chooses a fault for the requests to come.
func (f *Faults) Set(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Problem notes that a request was none that kmend should send.
func (f *Faults) Problem(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, text)
}

// Problems are what was wrong so far.
func (f *Faults) Problems() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.problems...)
}

// Requests is how many there were.
func (f *Faults) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// serve answers with a fault, where one is set; else next does.
func (f *Faults) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests++
		fault := f.fault
		f.mu.Unlock()
		switch fault {
		case None:
			packed(next, w, r)
		case Hang:
			select {
			case <-f.done:
			case <-r.Context().Done():
			}
		case Limited:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many outstanding requests", http.StatusTooManyRequests)
		case Broken:
			http.Error(w, "internal error: password=hunter2", http.StatusInternalServerError)
		case Huge:
			huge(w, r, f.done)
		case Garbage:
			_, _ = w.Write([]byte(`{"status":"success","hits":7,"data":[]}`))
		case Cut:
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"status":`))
		case Redirect:
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
		default:
			panic("no such fault: " + strconv.Quote(string(fault)))
		}
	})
}

// huge sends blanks, which JSON allows before anything, until nobody reads them.
func huge(w http.ResponseWriter, r *http.Request, done chan struct{}) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for range 1 << 10 {
		select {
		case <-done:
			return
		case <-r.Context().Done():
			return
		default:
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// packed answers with gzip where that is accepted, as both stores do.
func packed(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		next.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	defer z.Close()
	next.ServeHTTP(zipped{w, z}, r)
}

type zipped struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (z zipped) Write(b []byte) (int, error) { return z.z.Write(b) }

// Entry is one log line of a store.
type Entry struct {
	At     time.Time
	Labels map[string]string // labels of Loki, fields of Elasticsearch
	Line   string
}
