package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Loki reads from Grafana Loki's HTTP API.
type Loki struct {
	*server
	opts LokiOptions
}

// LokiOptions are what is particular of one Loki.
type LokiOptions struct {
	Access
	OrgID  string            // tenant, "" for none
	Labels Fields            // names of stream labels
	Match  map[string]string // labels that every stream of ours has
}

// DefaultLokiLabels are those of promtail and Grafana Alloy.
func DefaultLokiLabels() Fields {
	return Fields{Namespace: "namespace", Pod: "pod", Container: "container", Unit: "unit"}
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// NewLoki makes a client.
func NewLoki(o LokiOptions) (*Loki, error) {
	for _, name := range append(o.Labels.all(), keys(o.Match)...) {
		if !labelName.MatchString(name) {
			return nil, fmt.Errorf("%q is no label of Loki; want letters, digits and _", name)
		}
	}
	if strings.ContainsAny(o.OrgID, "\r\n") {
		return nil, errors.New("the tenant is more than one line")
	}
	s, err := newServer("Loki", o.Access)
	if err != nil {
		return nil, err
	}
	return &Loki{s, o}, nil
}

// Name of the store.
func (l *Loki) Name() string { return "loki" }

// Lines asks for the latest lines.
func (l *Loki) Lines(ctx context.Context, q Query) (b Batch, err error) {
	query, err := l.query(q)
	if err != nil {
		return b, err
	}
	header := http.Header{}
	if l.opts.OrgID != "" {
		header.Set("X-Scope-OrgID", l.opts.OrgID)
	}
	answer, err := l.ask(ctx, "/loki/api/v1/query_range", url.Values{
		"query": {query}, "limit": {strconv.Itoa(q.Limit)}, "direction": {"backward"},
		"start": {strconv.FormatInt(q.From.UnixNano(), 10)}, "end": {strconv.FormatInt(q.To.UnixNano(), 10)},
	}, header, nil)
	if err != nil {
		return b, err
	}
	if b.Lines, err = streams(answer, q.Limit); err != nil {
		return b, fmt.Errorf("reading the answer of Loki: %w", err)
	}
	b.Cut = len(b.Lines) >= q.Limit
	return b, nil
}

// query is a log query of LogQL: the stream's labels, and a filter where only
// trouble is wanted.
func (l *Loki) query(q Query) (string, error) {
	terms, err := l.opts.Labels.terms(q.Target)
	if err != nil {
		return "", err
	}
	for _, name := range keys(l.opts.Match) {
		terms = append(terms, term{name, l.opts.Match[name]})
	}
	parts := make([]string, len(terms))
	for i, t := range terms {
		parts[i] = t.name + "=" + strconv.Quote(t.value) // LogQL's strings are Go's
	}
	query := "{" + strings.Join(parts, ", ") + "}"
	if q.Trouble {
		query += " |~ " + strconv.Quote("(?i)("+strings.Join(troubles, "|")+")")
	}
	return query, nil
}

// streams reads the lines of an answer, at most limit of them.
func streams(answer []byte, limit int) ([]Line, error) {
	var res struct {
		Status string `json:"status"`
		Data   struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Stream map[string]string   `json:"stream"`
				Values [][]json.RawMessage `json:"values"` // time, line, and what else there is of it
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return nil, err
	}
	if res.Status != "success" || res.Data.ResultType != "streams" {
		return nil, fmt.Errorf("status %.40q with a result of type %.40q; want streams", res.Status, res.Data.ResultType)
	}
	var all []Line
	for i, s := range res.Data.Result {
		level := first(s.Stream, "level", "severity", "detected_level")
		for j, v := range s.Values {
			if len(all) == limit {
				return all, nil
			}
			var at, text string
			if len(v) < 2 || json.Unmarshal(v[0], &at) != nil || json.Unmarshal(v[1], &text) != nil {
				return nil, fmt.Errorf("stream %d, value %d, is not a time and a line", i, j)
			}
			all = append(all, Line{ID: at + " " + text, Text: text, Level: level})
		}
	}
	return all, nil
}

func first(m map[string]string, names ...string) string {
	for _, n := range names {
		if m[n] != "" && m[n] != "unknown" {
			return m[n]
		}
	}
	return ""
}
