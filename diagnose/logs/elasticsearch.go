package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Elasticsearch reads from the search API of Elasticsearch or OpenSearch.
type Elasticsearch struct {
	*server
	opts ElasticsearchOptions
}

// ElasticsearchOptions are what is particular of one Elasticsearch.
type ElasticsearchOptions struct {
	Access
	Index                string // indices, data streams and patterns of them, with commas between
	Fields               Fields
	Time, Message, Level string            // names of fields; Level may be empty
	Match                map[string]string // fields that every document of ours has
}

// DefaultElasticsearchOptions are Filebeat's and Elastic Agent's, in the Elastic Common Schema.
func DefaultElasticsearchOptions() ElasticsearchOptions {
	return ElasticsearchOptions{Index: "filebeat-*,logs-*", Time: "@timestamp", Message: "message", Level: "log.level",
		Fields: Fields{Namespace: "kubernetes.namespace", Pod: "kubernetes.pod.name", Container: "kubernetes.container.name", Node: "host.name", Unit: "systemd.unit"}}
}

var (
	fieldName = regexp.MustCompile(`^[A-Za-z0-9_@.-]{1,253}$`)
	indexName = regexp.MustCompile(`^[a-z0-9_.*:,+-]{1,1000}$`)
)

// NewElasticsearch makes a client.
func NewElasticsearch(o ElasticsearchOptions) (*Elasticsearch, error) {
	if !indexName.MatchString(o.Index) {
		return nil, fmt.Errorf("%q names no indices; want something like filebeat-*,logs-*", o.Index)
	}
	names := append(append(o.Fields.all(), keys(o.Match)...), o.Time, o.Message)
	if o.Level != "" {
		names = append(names, o.Level)
	}
	for _, name := range names {
		if !fieldName.MatchString(name) {
			return nil, fmt.Errorf("%q is no field of Elasticsearch; want letters, digits and _@.-", name)
		}
	}
	s, err := newServer("Elasticsearch", o.Access)
	if err != nil {
		return nil, err
	}
	return &Elasticsearch{s, o}, nil
}

// Name of the store.
func (e *Elasticsearch) Name() string { return "elasticsearch" }

// Lines asks for the latest lines.
func (e *Elasticsearch) Lines(ctx context.Context, q Query) (b Batch, err error) {
	body, err := e.search(ctx, q)
	if err != nil {
		return b, err
	}
	answer, err := e.ask(ctx, e.opts.Index+"/_search", url.Values{"ignore_unavailable": {"true"}, "allow_no_indices": {"true"}},
		http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return b, err
	}
	if b, err = e.hits(answer, q.Limit); err != nil {
		return b, fmt.Errorf("reading the answer of Elasticsearch: %w", err)
	}
	return b, nil
}

// object is a part of a search in Elasticsearch's query language.
type object = map[string]any

func (e *Elasticsearch) search(ctx context.Context, q Query) ([]byte, error) {
	terms, err := e.opts.Fields.terms(q.Target)
	if err != nil {
		return nil, err
	}
	for _, name := range keys(e.opts.Match) {
		terms = append(terms, term{name, e.opts.Match[name]})
	}
	filter := []object{{"range": object{e.opts.Time: object{
		"gte": stamp(q.From), "lt": stamp(q.To), "format": "strict_date_optional_time"}}}}
	for _, t := range terms {
		filter = append(filter, object{"term": object{t.name: object{"value": t.value}}})
	}
	source := []string{e.opts.Message}
	if e.opts.Level != "" {
		source = append(source, e.opts.Level)
	}
	if q.Trouble {
		filter = append(filter, e.trouble())
	}
	search := object{"size": q.Limit, "track_total_hits": false, "_source": source, "query": object{"bool": object{"filter": filter}},
		"sort": []object{{e.opts.Time: object{"order": "desc", "unmapped_type": "date"}}}}
	if deadline, ok := ctx.Deadline(); ok { // it stops to search when nobody waits for it any more
		search["timeout"] = fmt.Sprintf("%dms", max(1, time.Until(deadline).Milliseconds()))
	}
	return json.Marshal(search)
}

// trouble is the condition that a line has one of the words, or a level that says so.
func (e *Elasticsearch) trouble() object {
	either := []object{{"match": object{e.opts.Message: object{"query": strings.Join(troubles, " "), "operator": "or"}}}}
	if e.opts.Level != "" {
		var levels []string
		for _, l := range []string{"error", "fatal", "critical", "alert", "emergency", "panic"} {
			levels = append(levels, l, strings.ToUpper(l))
		}
		either = append(either, object{"terms": object{e.opts.Level: levels}})
	}
	return object{"bool": object{"should": either, "minimum_should_match": 1}}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// hits reads the lines of an answer, at most limit of them.
func (e *Elasticsearch) hits(answer []byte, limit int) (b Batch, err error) {
	var res struct {
		TimedOut bool `json:"timed_out"`
		Shards   *struct {
			Total  int `json:"total"`
			Failed int `json:"failed"`
		} `json:"_shards"`
		Hits *struct {
			Hits []struct {
				Index  string         `json:"_index"`
				ID     string         `json:"_id"`
				Source map[string]any `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return b, err
	}
	if res.Hits == nil || res.Shards == nil {
		return b, errors.New("it is no answer to a search")
	}
	switch {
	case res.Shards.Failed > 0 && res.Shards.Failed == res.Shards.Total:
		return b, errors.New("all shards failed; do the fields have the types of these queries?")
	case res.Shards.Failed > 0:
		b.Cut, b.Note = true, fmt.Sprintf("%d of %d shards failed", res.Shards.Failed, res.Shards.Total)
	case res.TimedOut:
		b.Cut, b.Note = true, "it searched a part only in the time it had"
	}
	for _, h := range res.Hits.Hits[:min(len(res.Hits.Hits), limit)] {
		text := field(h.Source, e.opts.Message)
		if text == "" {
			continue
		}
		b.Lines = append(b.Lines, Line{ID: h.Index + "/" + h.ID, Text: text, Level: field(h.Source, e.opts.Level)})
	}
	b.Cut = b.Cut || len(res.Hits.Hits) >= limit
	return b, nil
}

// field looks up "a.b", whether the document has it in an object or under a name with a dot.
func field(doc map[string]any, name string) string {
	if name == "" {
		return ""
	}
	if s, ok := doc[name].(string); ok {
		return s
	}
	for i := range len(name) {
		if sub, ok := doc[name[:i]].(map[string]any); name[i] == '.' && ok {
			if s := field(sub, name[i+1:]); s != "" {
				return s
			}
		}
	}
	return ""
}

func (f Fields) all() []string {
	names := []string{f.Cluster, f.Namespace, f.Pod, f.Container, f.Node, f.Unit}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
