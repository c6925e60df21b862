// Package loki has a Loki for tests: a stand-in for its query API that parses
// LogQL's selectors and line filters itself, holds the real one's limits and
// answers in its schema; and a starter for the real one, which
// `test/setup/loki` builds. The tests of diagnose/logs run against both.
package loki

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/test/logstore"
)

// maxEntries is Loki's own default of max_entries_limit_per_query.
const maxEntries = 5000

// Server is the stand-in.
type Server struct {
	*logstore.Faults
	URL string
	// OrgID is the tenant that requests must name, "" for none; Bearer the token they need.
	OrgID, Bearer string

	mu      sync.Mutex
	entries []logstore.Entry
	queries []string
}

// NewServer starts one that ends with the test.
func NewServer(t *testing.T) *Server {
	s := &Server{Faults: &logstore.Faults{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /loki/api/v1/query_range", s.queryRange)
	s.URL = s.Start(t, mux)
	return s
}

// Push adds lines.
func (s *Server) Push(entries ...logstore.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, entries...)
}

// Queries are the LogQL queries so far.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

func (s *Server) queryRange(w http.ResponseWriter, r *http.Request) {
	if s.Bearer != "" && r.Header.Get("Authorization") != "Bearer "+s.Bearer {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	if s.OrgID != r.Header.Get("X-Scope-OrgID") {
		http.Error(w, "no org id", http.StatusUnauthorized)
		return
	}
	q, limit, start, end, err := s.request(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	type result struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	streams := []*result{}
	for _, e := range s.latest(q, limit, start, end) {
		i := slices.IndexFunc(streams, func(x *result) bool { return fmt.Sprint(x.Stream) == fmt.Sprint(e.Labels) })
		if i < 0 {
			i, streams = len(streams), append(streams, &result{Stream: e.Labels})
		}
		streams[i].Values = append(streams[i].Values, [2]string{strconv.FormatInt(e.At.UnixNano(), 10), e.Line})
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "streams", "result": streams, "stats": map[string]any{}}})
}

// request reads the parameters as Loki does; one that Loki does not know it would
// ignore, and is a mistake of ours.
func (s *Server) request(r *http.Request) (q query, limit int, start, end time.Time, err error) {
	v := r.URL.Query()
	for name := range v {
		if !slices.Contains([]string{"query", "limit", "start", "end", "direction", "step", "interval", "since"}, name) {
			s.Problem("a parameter that Loki does not know: " + name)
		}
	}
	s.mu.Lock()
	s.queries = append(s.queries, v.Get("query"))
	s.mu.Unlock()
	if limit, err = strconv.Atoi(v.Get("limit")); err != nil || limit <= 0 {
		return q, 0, start, end, fmt.Errorf("limit must be a positive value")
	}
	if limit > maxEntries {
		return q, 0, start, end, fmt.Errorf("max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", limit, maxEntries)
	}
	if d := v.Get("direction"); d != "backward" && d != "forward" {
		return q, 0, start, end, fmt.Errorf("invalid direction '%s'", d)
	}
	if start, err = nanoseconds(v.Get("start")); err != nil {
		return q, 0, start, end, err
	}
	if end, err = nanoseconds(v.Get("end")); err != nil {
		return q, 0, start, end, err
	}
	if !end.After(start) {
		return q, 0, start, end, fmt.Errorf("end timestamp must not be before or equal to start time")
	}
	if end.Sub(start) > 721*time.Hour {
		return q, 0, start, end, fmt.Errorf("the query time range exceeds the limit (query length: %s, limit: 30d1h)", end.Sub(start))
	}
	q, err = parse(v.Get("query"))
	return q, limit, start, end, err
}

func nanoseconds(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || len(s) != 19 {
		return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
	}
	return time.Unix(0, n), nil
}

// latest are the lines that a query keeps, the newest first.
func (s *Server) latest(q query, limit int, start, end time.Time) []logstore.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []logstore.Entry
	for _, e := range s.entries {
		if !e.At.Before(start) && e.At.Before(end) && q.selects(e.Labels) && q.keeps(e.Line) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b logstore.Entry) int { return b.At.Compare(a.At) })
	return out[:min(len(out), limit)]
}
