// Package elasticsearch stands in for Elasticsearch and OpenSearch in tests,
// neither of which can be built or installed where these tests run. It compiles
// the query strictly (what it does not know it refuses with the real one's
// status and form of error), holds the real one's limits and answers in its
// schema.
package elasticsearch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/test/logstore"
)

// maxWindow is the default of index.max_result_window.
const maxWindow = 10_000

// Server is the stand-in.
type Server struct {
	*logstore.Faults
	URL string
	// APIKey is what requests need, "" for nothing.
	APIKey string
	// Shards failed, of five; TimedOut: the search stopped early.
	FailedShards int
	TimedOut     bool

	mu       sync.Mutex
	docs     []map[string]any
	searches []string
}

// NewServer starts one that ends with the test.
func NewServer(t *testing.T) *Server {
	s := &Server{Faults: &logstore.Faults{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{index}/_search", s.search)
	s.URL = s.Start(t, mux)
	return s
}

// Push adds documents: Filebeat's, with a label "a.b" as the field b of the object a.
func (s *Server) Push(entries ...logstore.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		doc := map[string]any{"@timestamp": e.At.UTC().Format("2006-01-02T15:04:05.000Z"), "message": e.Line, "agent": map[string]any{"type": "filebeat"}}
		for name, v := range e.Labels {
			put(doc, strings.Split(name, "."), v)
		}
		s.docs = append(s.docs, doc)
	}
}

func put(doc map[string]any, path []string, v string) {
	if len(path) == 1 {
		doc[path[0]] = v
		return
	}
	sub, ok := doc[path[0]].(map[string]any)
	if !ok {
		sub = map[string]any{}
		doc[path[0]] = sub
	}
	put(sub, path[1:], v)
}

// Searches are the bodies so far.
func (s *Server) Searches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.searches)
}

// refuse answers as Elasticsearch does.
func refuse(w http.ResponseWriter, status int, kind, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	cause := map[string]any{"type": kind, "reason": reason}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"root_cause": []any{cause}, "type": kind, "reason": reason}, "status": status})
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	if s.APIKey != "" && r.Header.Get("Authorization") != "ApiKey "+s.APIKey {
		refuse(w, http.StatusUnauthorized, "security_exception", "missing authentication credentials for REST request")
		return
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		refuse(w, http.StatusNotAcceptable, "media_type_header_exception", "Content-Type header ["+ct+"] is not supported")
		return
	}
	for name, v := range r.URL.Query() {
		if !slices.Contains([]string{"ignore_unavailable", "allow_no_indices", "expand_wildcards"}, name) || v[0] != "true" && v[0] != "false" {
			refuse(w, http.StatusBadRequest, "illegal_argument_exception", "request contains unrecognized parameter: ["+name+"]")
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "parse_exception", err.Error())
		return
	}
	s.mu.Lock()
	s.searches = append(s.searches, string(body))
	s.mu.Unlock()
	q, by, match, err := compile(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "parsing_exception", err.Error())
		return
	}
	hits := s.hits(q, by, match)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"took": 3, "timed_out": s.TimedOut,
		"_shards": map[string]any{"total": 5, "successful": 5 - s.FailedShards, "skipped": 0, "failed": s.FailedShards},
		"hits":    map[string]any{"max_score": nil, "hits": hits}})
}

// compile reads a search, and the field that it is sorted by.
func compile(body []byte) (q search, by string, match condition, err error) {
	if err := strict(body, &q); err != nil {
		return q, "", nil, err
	}
	if q.Size == nil || *q.Size < 0 || *q.Size > maxWindow {
		return q, "", nil, fmt.Errorf("Result window is too large, from + size must be less than or equal to: [%d]", maxWindow)
	}
	if q.Timeout != "" {
		if d, err := time.ParseDuration(q.Timeout); err != nil || d <= 0 {
			return q, "", nil, fmt.Errorf("failed to parse setting [timeout] with value [%s] as a time value", q.Timeout)
		}
	}
	if len(q.Sort) != 1 {
		return q, "", nil, fmt.Errorf("%d sorts; the stand-in knows one", len(q.Sort))
	}
	by, raw, err := one(q.Sort[0])
	if err != nil {
		return q, "", nil, err
	}
	var how sorted
	if err := strict(raw, &how); err != nil || how.Order != "desc" || how.UnmappedType != "date" {
		return q, "", nil, fmt.Errorf("sort %+v: %w", how, err)
	}
	match, err = query(q.Query)
	return q, by, match, err
}

// hits are the documents, the newest first, each with the fields that are asked for.
func (s *Server) hits(q search, by string, match condition) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	type found struct {
		id  int
		doc map[string]any
	}
	var all []found
	for i, doc := range s.docs {
		if match(doc) {
			all = append(all, found{i, doc})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return strings.Compare(value(b.doc, by), value(a.doc, by)) })
	hits := []any{}
	for _, f := range all[:min(len(all), *q.Size)] {
		source := map[string]any{}
		for _, name := range q.Source {
			if v := value(f.doc, name); v != "" {
				put(source, strings.Split(name, "."), v)
			}
		}
		hits = append(hits, map[string]any{"_index": "filebeat-8.19.7", "_id": fmt.Sprintf("id-%d", f.id), "_score": nil, "_source": source, "sort": []any{0}})
	}
	return hits
}
